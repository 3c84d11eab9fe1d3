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

/// Whether a character is a blank, a dash, or one that is not seen: none of them is part of a code.
fn is_filler(character: char) -> bool {
    let is_dash = matches!(
        character,
        '-' | '\u{ad}' | '\u{58a}' | '\u{5be}' | '\u{2010}'
            ..='\u{2015}'
                | '\u{2043}'
                | '\u{207b}'
                | '\u{208b}'
                | '\u{2212}'
                | '\u{2e3a}'
                | '\u{2e3b}'
                | '\u{30fc}'
                | '\u{fe58}'
                | '\u{fe63}'
                | '\u{ff0d}'
                | '\u{ff70}'
    );
    let is_unseen = matches!(
        character,
        '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}'
    );
    is_dash || is_unseen || character.is_whitespace() || character.is_control()
}

/// The ASCII letter of a full-width one (U+FF21 to U+FF5A).
fn half_width(character: char) -> char {
    match character {
        '\u{ff21}'..='\u{ff3a}' | '\u{ff41}'..='\u{ff5a}' => {
            u32::from(character).checked_sub(0xfee0).and_then(char::from_u32).unwrap_or(character)
        }
        other => other,
    }
}

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

    /// Parses what a user typed or pasted: upper or lower case, full-width letters too, with or without blanks, hyphens,
    /// other dashes and invisible characters, which keyboards of phones put in.
    ///
    /// # Errors
    /// [`Invalid`]: not eight letters of the alphabet.
    pub fn parse(typed: &str) -> Result<Self, Invalid> {
        let text: String = typed
            .chars()
            .filter(|character| !is_filler(*character))
            .map(|character| half_width(character).to_ascii_uppercase())
            .collect();
        if text.len() == Self::LEN && text.bytes().all(|octet| ALPHABET.contains(&octet)) {
            Ok(Self(text))
        } else {
            Err(Invalid { field: "user_code", rule: "eight letters from BCDFGHJKLMNPQRSTVWXZ, as XXXX-XXXX" })
        }
    }

    /// Whether what a user typed has the form of a code. What has not is no guess.
    #[must_use]
    pub fn is_possible(typed: &str) -> bool {
        Self::parse(typed).is_ok()
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
