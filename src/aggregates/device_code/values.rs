//! The forms of a device code's fields.

use crate::aggregates::field::{Invalid, has_control, hidden, text_value};

text_value! {
    /// What the device calls itself; nobody has checked it.
    ClientName, "client_name",
    "at most 200 characters, none of them a control character or one that changes the direction of text",
    |text| text.chars().count() <= 200 && !has_control(text)
}

/// The letters and digits of a user code: none that looks like another, and no vowels, so that no words come up.
const ALPHABET: &[u8; 20] = b"BCDFGHJKLMNPQRSTVWXZ";

/// The short code that a person types: eight characters, shown as `XXXX-XXXX`.
#[derive(Clone, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct UserCode(String);

impl UserCode {
    /// How many characters it has, without the hyphen.
    pub const LEN: usize = 8;

    /// A code from random octets; every code is as likely as any other (RFC 8628 §6.1: 20^8 are enough).
    ///
    /// Takes those octets that fall into a whole number of alphabets; `None` if there are too few.
    #[must_use]
    pub fn from_random(octets: &[u8]) -> Option<Self> {
        let whole = u8::try_from(256 / ALPHABET.len() * ALPHABET.len()).unwrap_or(u8::MAX);
        let letters = octets.iter().filter(|octet| **octet < whole);
        let text: String = letters
            .map(|octet| char::from(ALPHABET[usize::from(*octet) % ALPHABET.len()]))
            .take(Self::LEN)
            .collect();
        (text.len() == Self::LEN).then_some(Self(text))
    }

    /// Reads what a person typed: in whatever case, with or without hyphens and spaces.
    ///
    /// # Errors
    /// Not eight characters of the alphabet.
    pub fn parse(typed: &str) -> Result<Self, Invalid> {
        let text: String = typed
            .chars()
            .filter(|character| !matches!(character, '-' | ' '))
            .map(|character| character.to_ascii_uppercase())
            .collect();
        if text.len() == Self::LEN && text.bytes().all(|octet| ALPHABET.contains(&octet)) {
            Ok(Self(text))
        } else {
            Err(Invalid { field: "user_code", rule: "eight letters of BCDFGHJKLMNPQRSTVWXZ, as XXXX-XXXX" })
        }
    }

    /// The code as it is shown.
    #[must_use]
    pub fn shown(&self) -> String {
        let (left, right) = self.0.split_at(Self::LEN / 2);
        format!("{left}-{right}")
    }

    /// The identity of the code.
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
