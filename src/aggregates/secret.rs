//! The stored form of a machine-made secret: its SHA-256. The secret has enough entropy that a fast hash without salt
//! is safe, and the hash can be looked up.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::{Digest as _, Sha256};

/// The SHA-256 of a secret with at least 128 bits of entropy.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SecretDigest([u8; 32]);

impl SecretDigest {
    /// Hashes the text of a secret.
    #[must_use]
    pub fn of(secret: &str) -> Self {
        Self(Sha256::digest(secret.as_bytes()).into())
    }

    /// The 32 bytes of the digest.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl std::fmt::Debug for SecretDigest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        crate::aggregates::field::hidden("SecretDigest", f)
    }
}

impl Serialize for SecretDigest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut text = String::with_capacity(64);
        for octet in self.0 {
            use std::fmt::Write as _;
            // Writing to a `String` cannot fail.
            let _ = write!(text, "{octet:02x}");
        }
        serializer.serialize_str(&text)
    }
}

impl<'de> Deserialize<'de> for SecretDigest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        let octet = |place: usize| {
            text.get(2 * place..2 * place + 2).and_then(|hex| u8::from_str_radix(hex, 16).ok())
        };
        let mut digest = [0; 32];
        for (place, into) in digest.iter_mut().enumerate() {
            *into = octet(place).ok_or_else(|| de::Error::custom("64 hexadecimal digits"))?;
        }
        // The loop has not looked at text after the 64th digit.
        if text.len() == 64 { Ok(Self(digest)) } else { Err(de::Error::custom("64 hexadecimal digits")) }
    }
}
