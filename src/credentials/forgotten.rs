//! The list of the forgotten: kept outside the database, so that a restored backup forgets them again.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::PathBuf;

use crate::ids::UserId;

/// A file with an identifier a line; it only grows.
#[derive(Clone, Debug)]
pub struct ForgottenList {
    path: PathBuf,
}

impl ForgottenList {
    /// The list in this file, which need not be there yet.
    #[must_use]
    pub const fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// Everybody on the list; what is no identifier is passed over.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn read(&self) -> io::Result<BTreeSet<UserId>> {
        let mut text = String::new();
        match File::open(&self.path) {
            Ok(mut file) => drop(file.read_to_string(&mut text)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        Ok(text.lines().filter_map(|line| line.trim().parse().ok()).collect())
    }

    /// Puts people on the list, durably; those who are on it already only once.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn add(&self, users: &[UserId]) -> io::Result<()> {
        let known = self.read()?;
        let mut fresh = String::new();
        for user in users.iter().filter(|user| !known.contains(user)) {
            let _ = writeln!(fresh, "{user}");
        }
        if fresh.is_empty() {
            return Ok(());
        }
        if let Some(directory) = self.path.parent() {
            std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        }
        let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(&self.path)?;
        file.write_all(fresh.as_bytes())?;
        file.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_keeps_everybody_once() {
        let directory = tempfile::tempdir().unwrap();
        let list = ForgottenList::new(directory.path().join("forgotten"));
        assert!(list.read().unwrap().is_empty());
        let (one, two) = (UserId::UNAUTHENTICATED, UserId::from_uuid(uuid::Uuid::from_u128(7)));
        list.add(&[one]).unwrap();
        list.add(&[one, two]).unwrap();
        assert_eq!(list.read().unwrap(), BTreeSet::from([one, two]));
        assert_eq!(std::fs::read_to_string(directory.path().join("forgotten")).unwrap().lines().count(), 2);
    }
}
