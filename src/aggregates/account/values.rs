//! The form of a tenant's name.

use crate::aggregates::field::{fold, is_ambiguous, is_name, text_value};

text_value! {
    /// An account's name: unique without ASCII case, shown as given, usable as a slug, never taken for an identifier.
    AccountName, "name",
    "1 to 64 characters of A-Z a-z 0-9 . _ - that are not `me`, `.` or `..` and do not form a UUID",
    |text| (1..=64).contains(&text.len()) && is_name(text) && !is_ambiguous(text)
}

impl AccountName {
    /// The identity of the name.
    #[must_use]
    pub fn fold(&self) -> String {
        fold(&self.0)
    }

    /// Whether the name, allowed once, means something else where names are understood.
    #[must_use]
    pub fn is_ambiguous(&self) -> bool {
        is_ambiguous(&self.0)
    }
}

text_value! {
    /// The seed of a signing key at NATS; whoever has it makes users of the account.
    NatsSeed, "signing_seed",
    "58 characters of base32 that begin with SA",
    |text| text.len() == 58 && text.starts_with("SA") && is_base32(text)
}

/// The public key of an account at NATS.
#[derive(Clone, PartialEq, Eq, Hash, Debug, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct NatsPublicKey(String);

impl NatsPublicKey {
    /// Reads the key.
    ///
    /// # Errors
    /// It is no account's public key.
    pub fn parse(text: &str) -> Result<Self, crate::aggregates::field::Invalid> {
        if text.len() == 56 && text.starts_with('A') && is_base32(text) {
            Ok(Self(text.to_owned()))
        } else {
            Err(crate::aggregates::field::Invalid {
                field: "public_key",
                rule: "56 characters of base32 that begin with A",
            })
        }
    }

    /// The key as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn is_base32(text: &str) -> bool {
    text.bytes().all(|octet| matches!(octet, b'A'..=b'Z' | b'2'..=b'7'))
}
