//! The version of an installed PostgreSQL.

use std::fmt;

/// A version of PostgreSQL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// The part that decides about the format of the files.
    pub major: u32,
    /// The part that counts fixes; 0 for a beta.
    pub minor: u32,
}

impl Version {
    /// As `server_version_num`, such as 150018.
    pub(super) fn number(self) -> i32 {
        i32::try_from(self.major * 10_000 + self.minor).unwrap_or(i32::MAX)
    }

    /// From what `postgres --version` prints, such as `postgres (PostgreSQL) 15.18 (Debian 15.18-0)`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (_, rest) = text.split_once("(PostgreSQL) ")?;
        let mut numbers = rest.split_whitespace().next()?.split('.').map(leading_number);
        Some(Self { major: numbers.next()??, minor: numbers.next().flatten().unwrap_or(0) })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

fn leading_number(text: &str) -> Option<u32> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text[..digits].parse().ok()
}
