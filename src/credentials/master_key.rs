//! The master key: where it comes from, and how a wrong or damaged one is detected.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::entropy::Entropy;
use crate::sealing::DataKey;

const PREFIX: &str = "tenure-master-key-1:";

/// The key that wraps all others. With this key and the database, everything can be read.
#[derive(Clone, Debug)]
pub struct MasterKey {
    key: DataKey,
    id: String,
}

/// Where to look for the master key; the first source that is set wins.
#[derive(Clone, Default)]
pub struct MasterKeySource {
    /// The text of the key, from the environment.
    pub value: Option<SecretString>,
    /// A file that contains the key.
    pub file: Option<PathBuf>,
    /// The file used if neither is set. A key for a new log is created here.
    pub default_file: PathBuf,
    /// The text of the key that is about to replace it, from the environment.
    pub next_value: Option<SecretString>,
    /// A file that contains that key; by default the file of the present key with `.next` added.
    pub next_file: Option<PathBuf>,
}

/// Why there is no usable master key.
#[derive(Debug, thiserror::Error)]
pub enum MasterKeyError {
    /// The key file cannot be read or created.
    #[error("the master key file {} cannot be used: {source}", path.display())]
    File {
        /// The path of the key file.
        path: PathBuf,
        /// The error of the operating system.
        source: std::io::Error,
    },
    /// Users other than its owner can access the key file.
    #[error("the master key file {} can be read by others (mode {mode:04o}); run: chmod 600 {}", path.display(), path.display())]
    Mode {
        /// The path of the key file.
        path: PathBuf,
        /// The permission bits of the file.
        mode: u32,
    },
    /// The text is not a master key, or part of it is missing or changed.
    #[error(
        "{place} holds no intact master key: a key is `{PREFIX}` with 64 hexadecimal digits and 8 check digits; restore it from its backup"
    )]
    Damaged {
        /// The file or environment variable that the text came from.
        place: String,
    },
    /// No key was found, but the log already has one.
    #[error(
        "this log is sealed under master key {log}, and none was given: set TENURE_MASTER_KEY_FILE (or put the key at {})",
        default_file.display()
    )]
    Missing {
        /// The id of the log's master key.
        log: String,
        /// The last file that was looked for.
        default_file: PathBuf,
    },
    /// The log is changing its master key, and the other one of the two is missing.
    #[error(
        "this log is changing its master key and needs {log}, too, which was not given: put it at {}, or set \
         TENURE_NEXT_MASTER_KEY_FILE",
        next_file.display()
    )]
    MissingNext {
        /// The id of that key.
        log: String,
        /// Where it was looked for.
        next_file: PathBuf,
    },
    /// The key is not the one of this log.
    #[error(
        "this log is sealed under master key {log}, but the key given is {given}: give this node the log's own key"
    )]
    Mismatch {
        /// The id of the log's master key.
        log: String,
        /// The id of the key that was given.
        given: String,
    },
}

impl MasterKey {
    /// A new random key.
    #[must_use]
    pub fn generate(entropy: &dyn Entropy) -> Self {
        Self::from_data_key(DataKey::new(entropy))
    }

    fn from_data_key(key: DataKey) -> Self {
        let digest =
            Sha256::new().chain_update(b"tenure master key id\0").chain_update(key.as_bytes()).finalize();
        Self { id: format!("mk-{}", hex(&digest[..8])), key }
    }

    /// The public id of the key, derived from it by a hash.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    pub(super) const fn key(&self) -> &DataKey {
        &self.key
    }

    fn parse(text: &str, place: &str) -> Result<Self, MasterKeyError> {
        let damaged = || MasterKeyError::Damaged { place: place.to_owned() };
        let digits = text.trim().strip_prefix(PREFIX).ok_or_else(damaged)?;
        if digits.len() != 72 || !digits.is_ascii() {
            return Err(damaged());
        }
        let mut key = Zeroizing::new([0; 32]);
        for (byte, pair) in key.iter_mut().zip(digits.as_bytes().chunks(2)) {
            let pair = std::str::from_utf8(pair).map_err(|_| damaged())?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| damaged())?;
        }
        let key = Self::from_data_key(DataKey::from_bytes(*key));
        if key.check_digits() == digits[64..].to_ascii_lowercase() { Ok(key) } else { Err(damaged()) }
    }

    fn check_digits(&self) -> String {
        let digest = Sha256::new()
            .chain_update(b"tenure master key check\0")
            .chain_update(self.key.as_bytes())
            .finalize();
        hex(&digest[..4])
    }

    fn to_text(&self) -> Zeroizing<String> {
        Zeroizing::new(format!("{PREFIX}{}{}\n", hex(self.key.as_bytes()), self.check_digits()))
    }
}

impl MasterKeySource {
    /// Loads the existing key; `None` if no source is set and the default file does not exist.
    ///
    /// # Errors
    /// [`MasterKeyError`] if a key was found or named and is not usable.
    pub fn load(&self) -> Result<Option<MasterKey>, MasterKeyError> {
        if let Some(value) = &self.value {
            return MasterKey::parse(value.expose_secret(), "TENURE_MASTER_KEY").map(Some);
        }
        if let Some(file) = &self.file {
            return read(file).map(Some);
        }
        if self.default_file.exists() { read(&self.default_file).map(Some) } else { Ok(None) }
    }

    /// The file of the present key; `None` if the key comes from the environment.
    #[must_use]
    pub fn present_file(&self) -> Option<&Path> {
        if self.value.is_some() { None } else { Some(self.file.as_deref().unwrap_or(&self.default_file)) }
    }

    /// The file of the key that is about to replace the present one.
    #[must_use]
    pub fn file_of_next(&self) -> PathBuf {
        self.next_file.clone().unwrap_or_else(|| self.beside(".next"))
    }

    /// The file of a key that was replaced.
    #[must_use]
    pub fn file_of_former(&self, id: &str) -> PathBuf {
        self.beside(&format!(".former-{id}"))
    }

    /// The file of the present key with this added to its name.
    fn beside(&self, added: &str) -> PathBuf {
        let mut name = self.file.as_deref().unwrap_or(&self.default_file).as_os_str().to_owned();
        name.push(added);
        PathBuf::from(name)
    }

    /// Loads the key that is about to replace the present one; `None` if there is none.
    ///
    /// # Errors
    /// [`MasterKeyError`] if it is there and not usable.
    pub fn load_next(&self) -> Result<Option<MasterKey>, MasterKeyError> {
        if let Some(value) = &self.next_value {
            return MasterKey::parse(value.expose_secret(), "TENURE_NEXT_MASTER_KEY").map(Some);
        }
        let next = self.file_of_next();
        if next.exists() { read(&next).map(Some) } else { Ok(None) }
    }

    /// The key with this id: the next one, the present one, or one that was replaced.
    ///
    /// # Errors
    /// [`MasterKeyError`] if it is none of them, and the present or the next one cannot be used.
    pub fn find(&self, id: &str) -> Result<Option<MasterKey>, MasterKeyError> {
        // In this order: files change places from next to present.
        let (next, present) = (self.load_next(), self.load());
        for key in [&next, &present] {
            if let Ok(Some(key)) = key
                && key.id() == id
            {
                return Ok(Some(key.clone()));
            }
        }
        let former = self.file_of_former(id);
        if former.exists() {
            return read(&former).map(Some);
        }
        // A file that is not there yet is no damage.
        let is_absent = |error: &MasterKeyError| matches!(error, MasterKeyError::File { source, .. } if source.kind() == std::io::ErrorKind::NotFound);
        match (present, next) {
            (Err(error), _) | (_, Err(error)) if !is_absent(&error) => Err(error),
            _ => Ok(None),
        }
    }

    /// Creates the key that is to replace the present one, and stores it in its file.
    ///
    /// # Errors
    /// [`MasterKeyError::File`] if the file cannot be written.
    pub fn create_next(&self, entropy: &dyn Entropy) -> Result<MasterKey, MasterKeyError> {
        let key = create(&self.file_of_next(), entropy)?;
        // Nodes that do not run as who changes the key must be able to read it, like the present one.
        if let Some(present) = self.present_file()
            && let Ok(owner) = std::fs::metadata(present)
        {
            use std::os::unix::fs::MetadataExt as _;
            let _ = std::os::unix::fs::chown(self.file_of_next(), Some(owner.uid()), Some(owner.gid()));
        }
        Ok(key)
    }

    /// Puts the file of the next key in the place of the present one, if they are those of these ids. The former one stays beside it.
    /// There is a key at the present place at any moment. Returns whether the present file is that of the new key now.
    ///
    /// # Errors
    /// [`MasterKeyError`] if a file cannot be read or changed.
    pub fn promote_next(&self, to: &str) -> Result<bool, MasterKeyError> {
        let (Some(present), None, None) = (self.present_file(), &self.next_file, &self.next_value) else {
            return Ok(false);
        };
        let failed = |source| MasterKeyError::File { path: present.to_owned(), source };
        let now = if present.exists() { Some(read(present)?) } else { None };
        if now.as_ref().is_some_and(|now| now.id() == to) {
            return Ok(true);
        }
        if self.load_next()?.is_none_or(|next| next.id() != to) {
            return Ok(false);
        }
        if let Some(now) = now {
            match std::fs::hard_link(present, self.file_of_former(now.id())) {
                Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => return Err(failed(error)),
                _ => {}
            }
        }
        std::fs::rename(self.file_of_next(), present).map_err(failed)?;
        sync_directory(present)?;
        Ok(true)
    }

    /// Creates a key for a log that has none, and stores it in the default file.
    ///
    /// # Errors
    /// [`MasterKeyError::File`] if the file cannot be written.
    pub fn create(&self, entropy: &dyn Entropy) -> Result<MasterKey, MasterKeyError> {
        create(&self.default_file, entropy)
    }
}

/// Creates a key and stores it in a file.
fn create(path: &Path, entropy: &dyn Entropy) -> Result<MasterKey, MasterKeyError> {
    let failed = |source| MasterKeyError::File { path: path.to_owned(), source };
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory).map_err(failed)?;
    }
    let key = MasterKey::generate(entropy);
    // Written to a second file and renamed, so that a crash cannot leave half a key.
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{}.new", std::process::id()));
    let beside = PathBuf::from(beside);
    let _ = std::fs::remove_file(&beside);
    let mut file =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside).map_err(failed)?;
    file.write_all(key.to_text().as_bytes()).map_err(failed)?;
    file.sync_all().map_err(failed)?;
    std::fs::rename(&beside, path).map_err(failed)?;
    sync_directory(path)?;
    Ok(key)
}

/// Without syncing the directory, a crash could undo a rename: data sealed under the key would be lost.
fn sync_directory(path: &Path) -> Result<(), MasterKeyError> {
    let Some(directory) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) else {
        return Ok(());
    };
    let synced = File::open(directory).and_then(|directory| directory.sync_all());
    synced.map_err(|source| MasterKeyError::File { path: path.to_owned(), source })
}

fn read(path: &Path) -> Result<MasterKey, MasterKeyError> {
    let failed = |source| MasterKeyError::File { path: path.to_owned(), source };
    let file = File::open(path).map_err(failed)?;
    // Checked on the open file, so that it cannot be swapped in between.
    let mode = file.metadata().map_err(failed)?.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(MasterKeyError::Mode { path: path.to_owned(), mode });
    }
    let mut text = Zeroizing::new(String::new());
    let damaged = || MasterKeyError::Damaged { place: path.display().to_string() };
    // A key is much shorter; this bounds what a wrong path can load.
    file.take(4_096).read_to_string(&mut text).map_err(|_| damaged())?;
    MasterKey::parse(&text, &path.display().to_string())
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::SeededEntropy;

    fn source() -> (tempfile::TempDir, MasterKeySource) {
        let directory = tempfile::tempdir().unwrap();
        let default_file = directory.path().join("master.key");
        (directory, MasterKeySource { default_file, ..MasterKeySource::default() })
    }

    #[test]
    fn a_created_key_is_private_and_found_again() {
        let (_directory, source) = source();
        assert!(source.load().unwrap().is_none());
        let key = source.create(&SeededEntropy::new(1)).unwrap();
        assert_eq!(source.load().unwrap().unwrap().id(), key.id());
        let mode = std::fs::metadata(&source.default_file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_key_that_others_may_read_is_refused() {
        let (_directory, source) = source();
        source.create(&SeededEntropy::new(1)).unwrap();
        std::fs::set_permissions(&source.default_file, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(source.load(), Err(MasterKeyError::Mode { mode: 0o640, .. })));
    }

    #[test]
    fn a_damaged_key_is_refused_at_every_length_and_every_digit() {
        let text = MasterKey::generate(&SeededEntropy::new(1)).to_text();
        let text = text.trim();
        for length in 0..text.len() {
            assert!(MasterKey::parse(&text[..length], "x").is_err(), "cut to {length}");
        }
        for at in 0..text.len() {
            let mut changed = text.as_bytes().to_vec();
            changed[at] = if changed[at] == b'0' { b'1' } else { b'0' };
            let parsed = MasterKey::parse(&String::from_utf8(changed).unwrap(), "x");
            assert!(parsed.is_err(), "changed at {at}");
        }
    }

    #[test]
    fn neither_debug_nor_errors_show_the_key() {
        let key = MasterKey::generate(&SeededEntropy::new(1));
        let text = key.to_text();
        let digits = &text.trim()[PREFIX.len()..PREFIX.len() + 16];
        assert!(!format!("{key:?}").contains(digits));
        let error = MasterKey::parse(&text[..60], "the environment").unwrap_err();
        assert!(!format!("{error} {error:?}").contains(digits));
    }
}
