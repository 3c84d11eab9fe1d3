//! The validated fields of a user.

use serde::{Deserialize, Serialize};

use crate::aggregates::field::{Invalid, fold, has_control, is_ambiguous, is_name, text_value};

text_value! {
    /// A username. Unique and looked up without ASCII case, shown as given, and never in a form that reads as an ID.
    ///
    /// At most 39 characters (GitHub's limit), or 47 with a clash suffix: `~` and a number. GitHub forbids `~`, so no
    /// invite to a GitHub login matches a suffixed name by accident.
    Username, "username", USERNAME_RULE,
    |text| {
        let (name, suffix) = text.split_once('~').map_or((text, None), |(name, suffix)| (name, Some(suffix)));
        let clash = suffix.is_none_or(|digits| {
            (1..=7).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit()) && !digits.starts_with('0')
        });
        (1..=39).contains(&name.len()) && is_name(name) && clash && !is_ambiguous(text)
    }
}

const USERNAME_RULE: &str = "1 to 39 characters from A-Z a-z 0-9 . _ -, but not `me`, `.`, `..` or a UUID";

impl Username {
    /// A username that a user may choose: without a clash suffix.
    ///
    /// # Errors
    /// [`Invalid`]: the text breaks the rule or contains `~`.
    pub fn chosen(text: &str) -> Result<Self, Invalid> {
        if text.contains('~') {
            return Err(Invalid { field: "username", rule: USERNAME_RULE });
        }
        Self::parse(text)
    }

    /// This name with the clash suffix `~number`.
    #[must_use]
    pub fn with_clash(&self, number: u32) -> Self {
        Self(format!("{}~{number}", self.0))
    }

    /// Whether this stored name would now be invalid, because it reads as an ID, `me` or a path step.
    #[must_use]
    pub fn is_ambiguous(&self) -> bool {
        is_ambiguous(&self.0)
    }

    /// The form in which usernames are compared.
    #[must_use]
    pub fn fold(&self) -> String {
        fold(&self.0)
    }
}

text_value! {
    /// An e-mail address, for display only; nothing is sent to it.
    Email, "email",
    "at most 254 bytes, with text on both sides of an @ and without spaces, control or text-direction characters",
    |text| {
        (1..=254).contains(&text.len())
            && !has_control(text)
            && !text.chars().any(char::is_whitespace)
            && text.rsplit_once('@').is_some_and(|(local, domain)| !local.is_empty() && !domain.is_empty())
    }
}

text_value! {
    /// The URL of a user's picture.
    AvatarUrl, "avatar_url",
    "an https URL of at most 2048 characters",
    |text| {
        text.len() <= 2_048
            && text.strip_prefix("https://").is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/'))
            && text.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'<' | b'>' | b'\\'))
    }
}

text_value! {
    /// A login at GitHub, which can change there.
    GithubLogin, "github_login",
    "1 to 39 characters from A-Z a-z 0-9 . _ -",
    |text| (1..=39).contains(&text.len()) && is_name(text)
}

impl GithubLogin {
    /// The usernames to try for this login, in order of preference: the login itself unless it is ambiguous, then the
    /// login with a clash suffix, from `~2` up.
    pub fn usernames(&self) -> impl Iterator<Item = Username> {
        let itself = Username(self.0.clone());
        let plain = (!itself.is_ambiguous()).then(|| itself.clone());
        plain.into_iter().chain((2..MAX_CLASHES).map(move |number| itself.with_clash(number)))
    }

    /// The login as a username without a suffix; none if the login is ambiguous.
    #[must_use]
    pub fn as_username(&self) -> Option<Username> {
        Username::chosen(&self.0).ok()
    }
}

/// Upper bound of the clash suffix, exclusive: limits how many names are tried.
pub const MAX_CLASHES: u32 = 1_000_000;

/// GitHub's numeric ID of a user, which stays the same when the login changes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct GithubId(i64);

impl GithubId {
    /// Checks an ID from GitHub.
    ///
    /// # Errors
    /// [`Invalid`]: the number is zero or negative.
    pub const fn new(id: i64) -> Result<Self, Invalid> {
        if id > 0 {
            Ok(Self(id))
        } else {
            Err(Invalid { field: "github_id", rule: "a whole number above 0" })
        }
    }

    /// The ID as GitHub's API shows it.
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
