//! The validated fields of an API key.

use crate::aggregates::field::{has_control, text_value};

text_value! {
    /// The name that users give an API key. May be empty.
    Label, "label",
    "at most 200 characters, without control or text-direction characters",
    |text| text.chars().count() <= 200 && !has_control(text)
}

text_value! {
    /// The stored form of an API key: an argon2id hash as a PHC string.
    KeyHash, "key_hash",
    "an argon2id PHC string of at most 512 characters",
    |text| text.starts_with("$argon2id$") && text.len() <= 512
}

/// The first characters of an API key after its sentinel. Public: used for display and to find the keys to verify
/// against.
#[derive(Clone, PartialEq, Eq, Hash, Debug, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct KeyPrefix(String);

impl KeyPrefix {
    /// The maximum number of characters.
    pub const LEN: usize = 8;

    /// The first [`LEN`](Self::LEN) characters, or all if there are fewer.
    #[must_use]
    pub fn of(behind_sentinel: &str) -> Self {
        Self(behind_sentinel.chars().take(Self::LEN).collect())
    }

    /// The characters as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}
