//! The validated fields of a source, the kinds of source, and the retention of a pipe.

use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::aggregates::field::Invalid;

/// Names with a meaning of their own, which no source may have as its handle.
const RESERVED_HANDLES: &[&str] = &["broadcast", "inbox", "stdin", "stdout", "stdctrl", "system", "db"];

/// Names that no pipe may have. Those of automatic pipes are taken on sources that have them, and free on others.
const RESERVED_PIPES: &[&str] = &["system", "db"];

/// 1 to 32 characters of `[a-z0-9-]`, without a hyphen at either end.
fn is_handle(text: &str) -> bool {
    let plain = |octet: u8| octet.is_ascii_lowercase() || octet.is_ascii_digit();
    let octets = text.as_bytes();
    (1..=32).contains(&octets.len())
        && octets.iter().all(|octet| plain(*octet) || *octet == b'-')
        && octets.first().is_some_and(|octet| plain(*octet))
        && octets.last().is_some_and(|octet| plain(*octet))
}

macro_rules! public_name {
    ($(#[$doc:meta])* $name:ident, $field:literal, $reserved:ident, $rule:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// Checks the text and takes it unchanged.
            ///
            /// # Errors
            /// [`Invalid`]: the text breaks the rule.
            pub fn parse(text: &str) -> Result<Self, Invalid> {
                if is_handle(text) && !$reserved.contains(&text) {
                    Ok(Self(text.to_owned()))
                } else {
                    Err(Invalid { field: $field, rule: $rule })
                }
            }

            /// The text exactly as given.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
    };
}

public_name! {
    /// The name of a source, unique within its account. Public.
    Handle, "handle", RESERVED_HANDLES,
    "1 to 32 characters from a-z 0-9 -, without a hyphen at either end, but not broadcast, inbox, stdin, stdout, stdctrl, \
     system or db"
}
public_name! {
    /// The name of a pipe, unique within its source. Public.
    PipeName, "name", RESERVED_PIPES,
    "1 to 32 characters from a-z 0-9 -, without a hyphen at either end, but not system or db"
}

/// What kind of actor a source is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SourceKind {
    /// It receives messages.
    #[default]
    Message,
    /// It is a terminal.
    Pty,
}

impl SourceKind {
    /// The name in storage and in the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Message => "message",
            Self::Pty => "pty",
        }
    }

    /// The automatic pipes of a source of this kind, in order. They exist without being created.
    #[must_use]
    pub const fn auto_pipes(self) -> &'static [&'static str] {
        match self {
            Self::Message => &["inbox"],
            Self::Pty => &["stdin", "stdout", "stdctrl", "inbox"],
        }
    }

    /// Whether a source of this kind has an automatic pipe with this name.
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

/// How long and how much a pipe keeps. Each limit that is none is left to the server's default.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct Retention {
    /// How many seconds a message is kept: 1 to 31,536,000.
    pub ttl_seconds: Option<i64>,
    /// How many messages are kept: 1 to 10,000,000.
    pub max_msgs: Option<i64>,
    /// How many bytes are kept: 1 to 8 GiB.
    pub max_bytes: Option<i64>,
}

impl Retention {
    /// The maximum TTL of a message: 365 days.
    pub const MAX_TTL_SECONDS: i64 = 365 * 86_400;
    /// The maximum number of messages in a pipe.
    pub const MAX_MSGS: i64 = 10_000_000;
    /// The maximum size of a pipe: 8 GiB.
    pub const MAX_BYTES: i64 = 8 << 30;

    /// Checks each limit that is set.
    ///
    /// # Errors
    /// [`Invalid`]: a limit is zero, negative, or above its maximum.
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

    /// The same retention with the server's default for each limit that is none.
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

/// The server's default retention, used for each limit that a pipe does not set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetentionDefaults {
    /// How long a message is kept.
    pub ttl: Duration,
    /// How many messages are kept per pipe.
    pub max_msgs: i64,
    /// How many bytes are kept per pipe.
    pub max_bytes: i64,
}

impl Default for RetentionDefaults {
    fn default() -> Self {
        Self { ttl: Duration::from_hours(24), max_msgs: 1_000, max_bytes: 64 << 20 }
    }
}
