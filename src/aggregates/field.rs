//! Validation of input: one typed refusal for a field that breaks its rule, and the rules that fields share.

use std::fmt;

use uuid::Uuid;

/// A field whose value breaks a rule. Never quotes the value, which may be personal or secret.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{field}: {rule}")]
pub struct Invalid {
    /// The field name that the caller used, for example `username` or `--account`.
    pub field: &'static str,
    /// What a valid value looks like. Completes `field: …`, for example "an https URL of at most 2048 characters".
    pub rule: &'static str,
}

/// The form in which names are compared: ASCII letters in lower case.
#[must_use]
pub fn fold(name: &str) -> String {
    name.to_ascii_lowercase()
}

/// Whether every character is one of `[A-Za-z0-9._-]`.
#[must_use]
pub fn is_name(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
}

/// Whether a name would be read as something other than a name: a UUID, `me` (the caller), or the path steps `.` and
/// `..`.
#[must_use]
pub fn is_ambiguous(name: &str) -> bool {
    matches!(name, "." | "..") || name.eq_ignore_ascii_case("me") || Uuid::try_parse(name).is_ok()
}

/// Whether the text contains a control character or one that changes the text direction.
#[must_use]
pub fn has_control(text: &str) -> bool {
    text.chars().any(|character| {
        character.is_control()
            || matches!(character, '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    })
}

/// Debug output of a hidden value: only its type name.
pub(crate) fn hidden(name: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    write!(f, "{name}(hidden)")
}

/// Defines a validated text type. It is checked once, when parsed, and hidden from debug output because it may be
/// personal or secret.
macro_rules! text_value {
    ($(#[$doc:meta])* $name:ident, $field:literal, $rule:expr, $valid:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// Checks the text and takes it unchanged.
            ///
            /// # Errors
            /// `Invalid`: the text breaks the rule of the field.
            pub fn parse(text: &str) -> Result<Self, $crate::aggregates::field::Invalid> {
                let valid: fn(&str) -> bool = $valid;
                if valid(text) {
                    Ok(Self(text.to_owned()))
                } else {
                    Err($crate::aggregates::field::Invalid { field: $field, rule: $rule })
                }
            }

            /// The text exactly as given.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                $crate::aggregates::field::hidden(stringify!($name), f)
            }
        }
    };
}
pub(crate) use text_value;
