//! The forms of a key's fields.

use crate::aggregates::field::{has_control, text_value};

text_value! {
    /// What people call a key.
    Label, "label",
    "at most 200 characters, none of them a control character or one that changes the direction of text",
    |text| text.chars().count() <= 200 && !has_control(text)
}

text_value! {
    /// What is kept of a key: an argon2id string in PHC form.
    KeyHash, "key_hash",
    "an argon2id PHC string of at most 512 characters",
    |text| text.starts_with("$argon2id$") && text.len() <= 512
}

/// The first characters of a key behind its sentinel: public, for display and for finding candidates.
#[derive(Clone, PartialEq, Eq, Hash, Debug, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct KeyPrefix(String);

impl KeyPrefix {
    /// How many characters it has, at most.
    pub const LEN: usize = 8;

    /// The first eight characters, or what there is.
    #[must_use]
    pub fn of(behind_sentinel: &str) -> Self {
        Self(behind_sentinel.chars().take(Self::LEN).collect())
    }

    /// The characters.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}
