//! The validated fields of a device code.

use crate::aggregates::field::{Invalid, has_control, hidden, text_value};

text_value! {
    /// The name that a device gives itself. Not verified. May be empty.
    ClientName, "client_name",
    "at most 200 characters, without control or text-direction characters",
    |text| text.chars().count() <= 200 && !has_control(text)
}

/// The letters of a user code (RFC 8628 §6.1): no vowels, so that no words appear, and no digits, which look like
/// letters.
const ALPHABET: &[u8; 20] = b"BCDFGHJKLMNPQRSTVWXZ";

/// The short code that a user types: eight letters, shown as `XXXX-XXXX`.
#[derive(Clone, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct UserCode(String);

impl UserCode {
    /// The number of letters, without the hyphen.
    pub const LEN: usize = 8;

    /// Makes a code from random bytes. All 20^8 codes are equally likely (RFC 8628 §6.1).
    ///
    /// Skips bytes that would bias the result; `None` if too few are left.
    #[must_use]
    pub fn from_random(octets: &[u8]) -> Option<Self> {
        // 256 is no multiple of 20: bytes of 240 and above would make some letters more likely.
        let whole = u8::try_from(256 / ALPHABET.len() * ALPHABET.len()).unwrap_or(u8::MAX);
        let letters = octets.iter().filter(|octet| **octet < whole);
        let text: String = letters
            .map(|octet| char::from(ALPHABET[usize::from(*octet) % ALPHABET.len()]))
            .take(Self::LEN)
            .collect();
        (text.len() == Self::LEN).then_some(Self(text))
    }

    /// Parses what a user typed: upper or lower case, with or without hyphens and spaces.
    ///
    /// # Errors
    /// [`Invalid`]: not eight letters of the alphabet.
    pub fn parse(typed: &str) -> Result<Self, Invalid> {
        let text: String = typed
            .chars()
            .filter(|character| !matches!(character, '-' | ' '))
            .map(|character| character.to_ascii_uppercase())
            .collect();
        if text.len() == Self::LEN && text.bytes().all(|octet| ALPHABET.contains(&octet)) {
            Ok(Self(text))
        } else {
            Err(Invalid { field: "user_code", rule: "eight letters from BCDFGHJKLMNPQRSTVWXZ, as XXXX-XXXX" })
        }
    }

    /// The code as shown to users: `XXXX-XXXX`.
    #[must_use]
    pub fn shown(&self) -> String {
        let (left, right) = self.0.split_at(Self::LEN / 2);
        format!("{left}-{right}")
    }

    /// The eight letters without the hyphen: the form in which codes are compared.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for UserCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        hidden("UserCode", f)
    }
}
