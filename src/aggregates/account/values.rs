//! The validated fields of an account.

use crate::aggregates::field::{fold, is_ambiguous, is_name, text_value};

text_value! {
    /// An account name. Unique without ASCII case, shown as given, usable as a slug, and never in a form that reads as
    /// an ID.
    AccountName, "name",
    "1 to 64 characters from A-Z a-z 0-9 . _ -, but not `me`, `.`, `..` or a UUID",
    |text| (1..=64).contains(&text.len()) && is_name(text) && !is_ambiguous(text)
}

impl AccountName {
    /// The form in which account names are compared.
    #[must_use]
    pub fn fold(&self) -> String {
        fold(&self.0)
    }

    /// Whether this stored name would now be invalid, because it reads as an ID, `me` or a path step.
    #[must_use]
    pub fn is_ambiguous(&self) -> bool {
        is_ambiguous(&self.0)
    }
}

text_value! {
    /// The seed of a signing key at NATS. Secret: its holder can create NATS users in the account.
    NatsSeed, "signing_seed",
    "58 base32 characters starting with SA",
    |text| text.len() == 58 && text.starts_with("SA") && is_base32(text)
}

/// The public key of an account at NATS.
#[derive(Clone, PartialEq, Eq, Hash, Debug, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct NatsPublicKey(String);

impl NatsPublicKey {
    /// Checks the key and takes it unchanged.
    ///
    /// # Errors
    /// [`Invalid`](crate::aggregates::field::Invalid): the text is not the public key of an account.
    pub fn parse(text: &str) -> Result<Self, crate::aggregates::field::Invalid> {
        if text.len() == 56 && text.starts_with('A') && is_base32(text) {
            Ok(Self(text.to_owned()))
        } else {
            Err(crate::aggregates::field::Invalid {
                field: "public_key",
                rule: "56 base32 characters starting with A",
            })
        }
    }

    /// The key as base32 text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn is_base32(text: &str) -> bool {
    text.bytes().all(|octet| matches!(octet, b'A'..=b'Z' | b'2'..=b'7'))
}
