//! The version of an installed PostgreSQL server.

use std::fmt;

/// A PostgreSQL version, such as 15.18.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// The major version, which determines the format of the database files.
    pub major: u32,
    /// The minor version; 0 for a development or beta version.
    pub minor: u32,
}

impl Version {
    /// The version as `server_version_num`, such as 150018.
    pub(super) fn number(self) -> i32 {
        i32::try_from(self.major * 10_000 + self.minor).unwrap_or(i32::MAX)
    }

    /// Parses the output of `postgres --version`, such as `postgres (PostgreSQL) 15.18 (Debian 15.18-0)`; none if it
    /// has another form.
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
