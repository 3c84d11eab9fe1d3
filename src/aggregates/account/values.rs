//! The form of a tenant's name.

use uuid::Uuid;

use crate::aggregates::field::{fold, is_name, text_value};

text_value! {
    /// An account's name: unique without ASCII case, shown as given, usable as a slug, never taken for an identifier.
    AccountName, "name",
    "1 to 64 characters of A-Z a-z 0-9 . _ - that do not form a UUID",
    |text| (1..=64).contains(&text.len()) && is_name(text) && Uuid::try_parse(text).is_err()
}

impl AccountName {
    /// The identity of the name.
    #[must_use]
    pub fn fold(&self) -> String {
        fold(&self.0)
    }

    /// This name with a number behind it, for the n-th of its kind.
    #[must_use]
    pub fn numbered(&self, number: u32) -> Self {
        Self(format!("{}-{number}", self.0))
    }
}
