//! The data directory: its layout, its lock, and the location of its socket.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use nix::fcntl::OFlag;
use nix::unistd::{AccessFlags, access, geteuid};

use super::error::PrivatePostgresError;
use super::settings::SOCKET_NAME;

/// The longest socket path that is used, in bytes. Linux allows 107, macOS 103.
const LONGEST_SOCKET_PATH: usize = 100;

/// How many times to try the lock, and the pause between tries: a process that only checks whether the lock is held
/// takes it for a moment.
const LOCK_TRIES: u32 = 10;
const LOCK_PAUSE: Duration = Duration::from_millis(30);

/// An existing data directory. Its path is absolute and contains no symbolic links.
#[derive(Clone, Debug)]
pub(super) struct DataDir {
    root: PathBuf,
}

impl DataDir {
    /// Opens the directory, and creates it if it is missing.
    pub fn open(path: &Path) -> Result<Self, PrivatePostgresError> {
        if !path.exists() {
            let fail = || PrivatePostgresError::io("create the directory", path);
            if let Some(parent) = path.parent() {
                if parent.exists() && !parent.is_dir() {
                    return Err(PrivatePostgresError::NotADirectory { path: parent.to_path_buf() });
                }
                fs::create_dir_all(parent).map_err(fail())?;
            }
            // If root owns the directory, PostgreSQL's user must still be able to reach its files in it.
            let mode = if geteuid().is_root() { 0o711 } else { 0o700 };
            make_dir(path, mode).map_err(fail())?;
        }
        Self::existing(path)?.ok_or_else(|| PrivatePostgresError::NotADirectory { path: path.to_path_buf() })
    }

    /// Opens the directory; none if it does not exist.
    pub fn existing(path: &Path) -> Result<Option<Self>, PrivatePostgresError> {
        let root = match path.canonicalize() {
            Ok(root) => root,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(PrivatePostgresError::io("enter", path)(error)),
        };
        if !root.is_dir() {
            return Err(PrivatePostgresError::NotADirectory { path: root });
        }
        // Probably the user named the database files of a server of their own.
        if root.join("PG_VERSION").exists() {
            let what = "is itself a PostgreSQL data directory";
            return Err(PrivatePostgresError::Foreign { path: root, what });
        }
        Ok(Some(Self { root }))
    }

    pub fn path(&self) -> &Path {
        &self.root
    }

    /// The directory of the database files.
    pub fn pgdata(&self) -> PathBuf {
        self.root.join("postgres")
    }

    /// The directory in which new database files are created; renamed to [`DataDir::pgdata`] when they are complete.
    pub fn unfinished(&self) -> PathBuf {
        self.root.join("postgres.unfinished")
    }

    pub fn log(&self) -> PathBuf {
        self.root.join("postgres.log")
    }

    fn lock_file(&self) -> PathBuf {
        self.root.join("lock")
    }

    /// The directory of the socket: in the data directory, or in the temporary directory if that path would be too
    /// long.
    pub fn socket_dir(&self) -> PathBuf {
        let near = self.root.join("run");
        if near.join(SOCKET_NAME).as_os_str().len() <= LONGEST_SOCKET_PATH {
            return near;
        }
        // Derived from the path, so that each data directory keeps its own socket directory across restarts.
        let name = format!("tenure-{:016x}", stable_hash(self.root.as_os_str().as_bytes()));
        let elsewhere = temp_dir().join(&name);
        let is_short = elsewhere.join(SOCKET_NAME).as_os_str().len() <= LONGEST_SOCKET_PATH;
        if elsewhere.is_absolute() && is_short && unusable_temp_dir().is_none() {
            elsewhere
        } else {
            Path::new("/tmp").join(name)
        }
    }

    /// Locks the directory for this process, and writes the process ID and the socket directory to the lock file.
    pub fn lock(&self) -> Result<Lock, PrivatePostgresError> {
        let path = self.lock_file();
        let fail = |action| PrivatePostgresError::io(action, &path);
        let mut file = self.private_file(&path).map_err(fail("open the lock file"))?;
        let mut tries = 1;
        while let Err(error) = file.try_lock() {
            match error {
                TryLockError::WouldBlock if tries < LOCK_TRIES => thread::sleep(LOCK_PAUSE),
                TryLockError::WouldBlock => {
                    let pid = read_owner(&mut file).map(|owner| owner.pid);
                    return Err(PrivatePostgresError::InUse { data_dir: self.root.clone(), pid });
                }
                TryLockError::Error(error) => return Err(fail("lock")(error)),
            }
            tries += 1;
        }
        let owner = Owner { pid: std::process::id(), socket_dir: self.socket_dir() };
        write_owner(&mut file, &owner).map_err(fail("write the lock file"))?;
        Ok(Lock { _file: file })
    }

    /// The process that holds the lock; none if the lock is free.
    pub fn owner(&self) -> Result<Option<Owner>, PrivatePostgresError> {
        let path = self.lock_file();
        let mut file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(PrivatePostgresError::io("open the lock file", &path)(error)),
        };
        // Shared, so that several processes can check at once; dropping the file releases it.
        match file.try_lock_shared() {
            Ok(()) => Ok(None),
            Err(TryLockError::WouldBlock) => Ok(read_owner(&mut file)),
            Err(TryLockError::Error(error)) => Err(PrivatePostgresError::io("lock", &path)(error)),
        }
    }

    /// Opens a private file for appending, mode 0600. If this process runs as root, the directory's owner gets the
    /// file.
    pub fn private_file(&self, path: &Path) -> io::Result<File> {
        let file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(0o600)
            // A link placed here would make root append to a file elsewhere and give it away.
            .custom_flags(OFlag::O_NOFOLLOW.bits())
            .open(path)?;
        let directory = fs::metadata(&self.root)?;
        if geteuid().is_root() && directory.uid() != 0 {
            std::os::unix::fs::fchown(&file, Some(directory.uid()), Some(directory.gid()))?;
        }
        Ok(file)
    }
}

/// The directory for temporary files. An empty `TMPDIR` counts as unset.
#[must_use]
pub fn temp_dir() -> PathBuf {
    Some(std::env::temp_dir()).filter(|path| !path.as_os_str().is_empty()).unwrap_or_else(|| "/tmp".into())
}

/// What is wrong with the directory for temporary files, which `TMPDIR` names; none if it can be used.
#[must_use]
pub fn unusable_temp_dir() -> Option<String> {
    let directory = temp_dir();
    let may_write = access(&directory, AccessFlags::W_OK | AccessFlags::X_OK);
    let reason = match may_write {
        Ok(()) if directory.is_dir() => return None,
        Ok(()) => "it is not a directory".to_owned(),
        Err(error) => error.desc().to_owned(),
    };
    let named = if std::env::var_os("TMPDIR").is_some() { "TMPDIR names " } else { "" };
    Some(format!(
        "{named}{}, where no temporary files can be made ({reason}); set TMPDIR to a directory that you can write to",
        directory.display()
    ))
}

/// The lock while it is held. The kernel releases it when the process exits, however it exits.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

/// The content of the lock file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Owner {
    pub pid: u32,
    pub socket_dir: PathBuf,
}

fn write_owner(file: &mut File, owner: &Owner) -> io::Result<()> {
    file.set_len(0)?;
    let pid = format!("{}\n", owner.pid);
    file.write_all(&[pid.as_bytes(), owner.socket_dir.as_os_str().as_bytes()].concat())
}

fn read_owner(file: &mut File) -> Option<Owner> {
    let mut content = Vec::new();
    file.seek(SeekFrom::Start(0)).ok()?;
    file.read_to_end(&mut content).ok()?;
    let newline = content.iter().position(|&byte| byte == b'\n')?;
    let socket_dir = std::ffi::OsString::from_vec(content.split_off(newline + 1));
    let pid = std::str::from_utf8(&content).ok()?.trim().parse().ok()?;
    Some(Owner { pid, socket_dir: socket_dir.into() })
}

/// Creates one directory with exactly these permissions, whatever the umask.
pub(super) fn make_dir(path: &Path, mode: u32) -> io::Result<()> {
    DirBuilder::new().mode(mode).create(path)?;
    fs::set_permissions(path, Permissions::from_mode(mode))
}

/// FNV-1a: unlike the standard library's hasher, it gives the same value in every release.
fn stable_hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_never_changes() {
        assert_eq!(stable_hash(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(stable_hash(b"foobar"), 0x8594_4171_f739_67e8);
    }

    #[test]
    fn a_socket_path_is_never_too_long() {
        let near = DataDir { root: "/srv/tenure".into() }.socket_dir();
        assert_eq!(near, Path::new("/srv/tenure/run"));
        let far = DataDir { root: format!("/srv/{}", "x".repeat(200)).into() }.socket_dir();
        assert!(!far.starts_with("/srv"), "{far:?}");
        assert!(far.join(SOCKET_NAME).as_os_str().len() <= LONGEST_SOCKET_PATH);
    }

    #[test]
    fn the_lock_names_its_owner_and_ends_with_it() {
        let temp = tempfile::tempdir().unwrap();
        let data_dir = DataDir::open(&temp.path().join("data")).unwrap();
        assert_eq!(data_dir.owner().unwrap(), None);
        let lock = data_dir.lock().unwrap();
        let owner = Owner { pid: std::process::id(), socket_dir: data_dir.socket_dir() };
        assert_eq!(data_dir.owner().unwrap(), Some(owner));
        let refused = data_dir.lock().unwrap_err();
        assert!(
            matches!(refused, PrivatePostgresError::InUse { pid: Some(pid), .. } if pid == std::process::id())
        );
        drop(lock);
        assert_eq!(data_dir.owner().unwrap(), None);
        data_dir.lock().unwrap();
    }

    #[test]
    fn files_and_directories_of_others_are_refused() {
        let temp = tempfile::tempdir().unwrap();
        let file = temp.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(matches!(DataDir::open(&file), Err(PrivatePostgresError::NotADirectory { .. })));
        assert!(matches!(DataDir::open(&file.join("x")), Err(PrivatePostgresError::NotADirectory { .. })));
        fs::write(temp.path().join("PG_VERSION"), "15").unwrap();
        assert!(matches!(DataDir::open(temp.path()), Err(PrivatePostgresError::Foreign { .. })));
    }
}
