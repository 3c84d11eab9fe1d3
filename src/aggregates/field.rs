//! The form of input: one typed refusal for whatever breaks a field's rule, and the rules that fields share.

use std::fmt;

use uuid::Uuid;

/// Input refused for its form: which field, and the rule that it breaks. Never quotes the input.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{field}: {rule}")]
pub struct Invalid {
    /// The field, as the caller names it.
    pub field: &'static str,
    /// What a right value looks like.
    pub rule: &'static str,
}

/// The identity of a name: ASCII letters without case.
#[must_use]
pub fn fold(name: &str) -> String {
    name.to_ascii_lowercase()
}

/// Whether every character is one of `[A-Za-z0-9._-]`.
#[must_use]
pub fn is_name(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
}

/// Whether a name means something else where names are understood: an identifier, whoever asks, or a step in a path.
#[must_use]
pub fn is_ambiguous(name: &str) -> bool {
    matches!(name, "." | "..") || name.eq_ignore_ascii_case("me") || Uuid::try_parse(name).is_ok()
}

/// Whether text holds a control character, or one that changes the direction of what surrounds it.
#[must_use]
pub fn has_control(text: &str) -> bool {
    text.chars().any(|character| {
        character.is_control()
            || matches!(character, '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    })
}

/// Text that shows that a value exists and nothing of it.
pub(crate) fn hidden(name: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    write!(f, "{name}(hidden)")
}

/// A text field with a form: parsed once, valid from then on, hidden from debug output because it is personal.
macro_rules! text_value {
    ($(#[$doc:meta])* $name:ident, $field:literal, $rule:expr, $valid:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// Reads the text.
            ///
            /// # Errors
            /// The text breaks the field's rule.
            pub fn parse(text: &str) -> Result<Self, $crate::aggregates::field::Invalid> {
                let valid: fn(&str) -> bool = $valid;
                if valid(text) {
                    Ok(Self(text.to_owned()))
                } else {
                    Err($crate::aggregates::field::Invalid { field: $field, rule: $rule })
                }
            }

            /// The text as it was given.
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
