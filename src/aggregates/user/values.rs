//! The forms of a person's fields.

use serde::{Deserialize, Serialize};

use crate::aggregates::field::{Invalid, fold, has_control, is_ambiguous, is_name, text_value};

text_value! {
    /// A username: unique and looked up without ASCII case, shown as given, never taken for an identifier.
    ///
    /// At most 39 characters (GitHub's limit), and up to 47 with the suffix of a name clash: `~` and a number, which
    /// GitHub forbids, so that no invite matches it by accident.
    Username, "username", USERNAME_RULE,
    |text| {
        let (name, suffix) = text.split_once('~').map_or((text, None), |(name, suffix)| (name, Some(suffix)));
        let clash = suffix.is_none_or(|digits| {
            (1..=7).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit()) && !digits.starts_with('0')
        });
        (1..=39).contains(&name.len()) && is_name(name) && clash && !is_ambiguous(text)
    }
}

const USERNAME_RULE: &str =
    "1 to 39 characters of A-Z a-z 0-9 . _ - that are not `me`, `.` or `..` and do not form a UUID";

impl Username {
    /// The username as people may choose it: without the suffix of a clash.
    ///
    /// # Errors
    /// The text breaks the rule.
    pub fn chosen(text: &str) -> Result<Self, Invalid> {
        if text.contains('~') {
            return Err(Invalid { field: "username", rule: USERNAME_RULE });
        }
        Self::parse(text)
    }

    /// This name with the suffix of the n-th clash.
    #[must_use]
    pub fn with_clash(&self, number: u32) -> Self {
        Self(format!("{}~{number}", self.0))
    }

    /// Whether the name, allowed once, means something else where names are understood.
    #[must_use]
    pub fn is_ambiguous(&self) -> bool {
        is_ambiguous(&self.0)
    }

    /// The identity of the name.
    #[must_use]
    pub fn fold(&self) -> String {
        fold(&self.0)
    }
}

text_value! {
    /// An e-mail address, kept for people to read; nothing is sent to it.
    Email, "email",
    "1 to 254 characters with an @ between two parts, no spaces and no control characters",
    |text| {
        (1..=254).contains(&text.len())
            && !has_control(text)
            && !text.chars().any(char::is_whitespace)
            && text.rsplit_once('@').is_some_and(|(local, domain)| !local.is_empty() && !domain.is_empty())
    }
}

text_value! {
    /// The address of a person's picture.
    AvatarUrl, "avatar_url",
    "an https URL of at most 2048 characters",
    |text| {
        text.len() <= 2_048
            && text.strip_prefix("https://").is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/'))
            && text.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'<' | b'>' | b'\\'))
    }
}

text_value! {
    /// A login name at GitHub, which can change there.
    GithubLogin, "github_login",
    "1 to 39 characters of A-Z a-z 0-9 . _ -",
    |text| (1..=39).contains(&text.len()) && is_name(text)
}

impl GithubLogin {
    /// The usernames that this login asks for, the best first: itself, unless it could be taken for something else, then
    /// with the suffix of a clash.
    pub fn usernames(&self) -> impl Iterator<Item = Username> {
        let itself = Username(self.0.clone());
        let plain = (!itself.is_ambiguous()).then(|| itself.clone());
        plain.into_iter().chain((2..MAX_CLASHES).map(move |number| itself.with_clash(number)))
    }

    /// The username that is the login itself, unless that could be taken for something else.
    #[must_use]
    pub fn as_username(&self) -> Option<Username> {
        Username::chosen(&self.0).ok()
    }
}

/// The most names that are tried when one is taken again and again.
pub const MAX_CLASHES: u32 = 1_000_000;

/// The number by which GitHub knows a person, whatever they are called.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct GithubId(i64);

impl GithubId {
    /// A number that GitHub may have given.
    ///
    /// # Errors
    /// Zero or less.
    pub const fn new(id: i64) -> Result<Self, Invalid> {
        if id > 0 {
            Ok(Self(id))
        } else {
            Err(Invalid { field: "github_id", rule: "a whole number above 0" })
        }
    }

    /// The number.
    #[must_use]
    pub const fn as_i64(self) -> i64 {
        self.0
    }
}

impl std::fmt::Debug for GithubId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        crate::aggregates::field::hidden("GithubId", f)
    }
}
