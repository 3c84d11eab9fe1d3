//! The forms of a source's fields, the kinds there are, and how long a pipe keeps what it is sent.

use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::aggregates::field::Invalid;

/// Names that mean something else wherever a handle or a pipe is named.
const RESERVED: [&str; 7] = ["broadcast", "inbox", "stdin", "stdout", "stdctrl", "system", "db"];

/// 1 to 32 of `[a-z0-9-]`, neither first nor last a hyphen, and none of the reserved names.
fn is_handle(text: &str) -> bool {
    let plain = |octet: u8| octet.is_ascii_lowercase() || octet.is_ascii_digit();
    let octets = text.as_bytes();
    (1..=32).contains(&octets.len())
        && octets.iter().all(|octet| plain(*octet) || *octet == b'-')
        && octets.first().is_some_and(|octet| plain(*octet))
        && octets.last().is_some_and(|octet| plain(*octet))
        && !RESERVED.contains(&text)
}

macro_rules! public_name {
    ($(#[$doc:meta])* $name:ident, $field:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// Reads the text.
            ///
            /// # Errors
            /// The text breaks the rule.
            pub fn parse(text: &str) -> Result<Self, Invalid> {
                if is_handle(text) {
                    Ok(Self(text.to_owned()))
                } else {
                    Err(Invalid {
                        field: $field,
                        rule: "1 to 32 of a-z 0-9 -, no hyphen at either end, and none of: broadcast inbox stdin \
                               stdout stdctrl system db",
                    })
                }
            }

            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
    };
}

public_name! {
    /// What a source is called in its account; public.
    Handle, "handle"
}
public_name! {
    /// What a pipe is called in its source; public.
    PipeName, "name"
}

/// What kind of actor a source is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SourceKind {
    /// It gets messages.
    #[default]
    Message,
    /// It is a terminal.
    Pty,
}

impl SourceKind {
    /// The stored name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Message => "message",
            Self::Pty => "pty",
        }
    }

    /// The pipes that a source of this kind has by itself, in order.
    #[must_use]
    pub const fn auto_pipes(self) -> &'static [&'static str] {
        match self {
            Self::Message => &["inbox"],
            Self::Pty => &["stdin", "stdout", "stdctrl", "inbox"],
        }
    }

    /// Whether a source of this kind has this pipe by itself.
    #[must_use]
    pub fn is_auto_pipe(self, name: &str) -> bool {
        self.auto_pipes().contains(&name)
    }
}

impl FromStr for SourceKind {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        match text {
            "message" => Ok(Self::Message),
            "pty" => Ok(Self::Pty),
            _ => Err(Invalid { field: "kind", rule: "`message` or `pty`" }),
        }
    }
}

/// What a pipe keeps, where that is not left to the server; unset: the server's default.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Retention {
    /// For how many seconds a message is kept.
    pub ttl_seconds: Option<i64>,
    /// How many messages are kept.
    pub max_msgs: Option<i64>,
    /// How many bytes are kept.
    pub max_bytes: Option<i64>,
}

impl Retention {
    /// The longest life of a message: 365 days.
    pub const MAX_TTL_SECONDS: i64 = 365 * 86_400;
    /// The most messages.
    pub const MAX_MSGS: i64 = 10_000_000;
    /// The most bytes: 8 GiB.
    pub const MAX_BYTES: i64 = 8 << 30;

    /// Holds each to its bounds.
    ///
    /// # Errors
    /// One that is zero, negative, or above its cap.
    pub fn new(
        ttl_seconds: Option<i64>,
        max_msgs: Option<i64>,
        max_bytes: Option<i64>,
    ) -> Result<Self, Invalid> {
        let bounded = |value: Option<i64>, most, field, rule| match value {
            Some(value) if value <= 0 || value > most => Err(Invalid { field, rule }),
            _ => Ok(()),
        };
        bounded(ttl_seconds, Self::MAX_TTL_SECONDS, "ttl_seconds", "1 to 31536000 (365 days)")?;
        bounded(max_msgs, Self::MAX_MSGS, "max_msgs", "1 to 10000000")?;
        bounded(max_bytes, Self::MAX_BYTES, "max_bytes", "1 to 8589934592 (8 GiB)")?;
        Ok(Self { ttl_seconds, max_msgs, max_bytes })
    }

    /// With the server's defaults where nothing is set.
    #[must_use]
    pub fn resolved(self, defaults: &RetentionDefaults) -> Self {
        let ttl = i64::try_from(defaults.ttl.as_secs()).unwrap_or(Self::MAX_TTL_SECONDS);
        Self {
            ttl_seconds: self.ttl_seconds.or(Some(ttl)),
            max_msgs: self.max_msgs.or(Some(defaults.max_msgs)),
            max_bytes: self.max_bytes.or(Some(defaults.max_bytes)),
        }
    }
}

/// What a pipe keeps when nothing else is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetentionDefaults {
    /// How long a message is kept.
    pub ttl: Duration,
    /// How many messages are kept.
    pub max_msgs: i64,
    /// How many bytes are kept.
    pub max_bytes: i64,
}

impl Default for RetentionDefaults {
    fn default() -> Self {
        Self { ttl: Duration::from_hours(24), max_msgs: 1_000, max_bytes: 64 << 20 }
    }
}
