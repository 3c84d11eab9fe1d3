//! The list of forgotten users, kept outside the database so that they can be forgotten again after a backup is
//! restored.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::ids::UserId;

/// A file with one user id per line; it only grows. Clones share what is known of it.
#[derive(Clone, Debug)]
pub struct ForgottenList {
    path: PathBuf,
    /// The users that this process knows to be on the list.
    known: Arc<Mutex<BTreeSet<UserId>>>,
}

impl ForgottenList {
    /// The list in this file. The file need not exist yet.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self { path, known: Arc::default() }
    }

    /// Reads all users on the list. Lines that are not user ids are skipped.
    ///
    /// # Errors
    /// [`io::Error`] if the file exists and cannot be read.
    pub fn read(&self) -> io::Result<BTreeSet<UserId>> {
        let mut text = String::new();
        match File::open(&self.path) {
            Ok(mut file) => drop(file.read_to_string(&mut text)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let users: BTreeSet<UserId> = text.lines().filter_map(|line| line.trim().parse().ok()).collect();
        self.known().clone_from(&users);
        Ok(users)
    }

    fn known(&self) -> MutexGuard<'_, BTreeSet<UserId>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds users to the list durably. Users that this process knows to be on it are not added again.
    ///
    /// # Errors
    /// [`io::Error`] if the file cannot be written.
    pub fn add(&self, users: &[UserId]) -> io::Result<()> {
        // Locked until the users are written, so that concurrent calls do not add a user twice.
        let mut known = self.known();
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
        file.sync_all()?;
        // Only after the sync: a user whose write failed must be tried again.
        known.extend(users);
        Ok(())
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
