//! What can go wrong with the private server; every message says what to do about it.

use std::io;
use std::path::{Path, PathBuf};

use super::version::Version;
use crate::postgres::version::OLDEST;

/// Why the private server does not run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PrivatePostgresError {
    /// Another process owns the data directory.
    #[error(
        "the data directory {} is in use by {}; stop that process, or name another directory with --data-dir",
        data_dir.display(), process(*pid)
    )]
    InUse {
        /// The data directory.
        data_dir: PathBuf,
        /// The process that holds the lock, where it is known.
        pid: Option<u32>,
    },
    /// A path that has to be a directory is something else.
    #[error("{} is not a directory; move it away, or name another directory with --data-dir", path.display())]
    NotADirectory {
        /// The path.
        path: PathBuf,
    },
    /// The file system or its permissions forbid what has to be done.
    #[error(
        "this user may not {action} {}; run as the user who owns it, make it writable, or name another \
         directory with --data-dir",
        path.display()
    )]
    NotPermitted {
        /// What was tried.
        action: &'static str,
        /// With which path.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// No space is left.
    #[error("no space is left on the disk that holds {}; free some and start again", path.display())]
    DiskFull {
        /// What could not grow.
        path: PathBuf,
    },
    /// Files that PostgreSQL needs belong to somebody else.
    #[error(
        "{} belongs to user {owner}, not to user {expected}; run as user {owner}, or give it away with \
         `chown -R {expected}`",
        path.display()
    )]
    WrongOwner {
        /// The path.
        path: PathBuf,
        /// Its owner's number.
        owner: u32,
        /// The number of the user who has to own it.
        expected: u32,
    },
    /// A directory holds something that is not ours.
    #[error("{} {what}; move it away, or name another directory with --data-dir", path.display())]
    Foreign {
        /// The directory.
        path: PathBuf,
        /// What is wrong with it.
        what: &'static str,
    },
    /// The database files are incomplete or corrupt.
    #[error(
        "the database files in {} are damaged: {what}; restore the directory from a backup",
        path.display()
    )]
    Damaged {
        /// The directory.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// No PostgreSQL server is installed.
    #[error(
        "no PostgreSQL server is on this machine; install one (Debian, Ubuntu: `apt-get install postgresql`; \
         Fedora: `dnf install postgresql-server`; macOS: `brew install postgresql@17`), or name the directory \
         of `initdb` and `postgres` with TENURE_POSTGRES_BIN; searched: {}",
        list(searched)
    )]
    BinariesMissing {
        /// The directories that were searched.
        searched: Vec<PathBuf>,
    },
    /// Only servers that are too old are installed.
    #[error(
        "PostgreSQL {found} in {} is too old; install version {} or newer (package `postgresql`), or name \
         the directory of its `initdb` and `postgres` with TENURE_POSTGRES_BIN",
        bin_dir.display(), OLDEST / 10_000
    )]
    TooOld {
        /// Which version was found.
        found: Version,
        /// Where.
        bin_dir: PathBuf,
    },
    /// The database files were written by a major version that is not installed.
    #[error(
        "{} holds the files of PostgreSQL {data}, but the servers on this machine are {}; install \
         PostgreSQL {data} (Debian, Ubuntu: `postgresql-{data}`) or name its directory with \
         TENURE_POSTGRES_BIN; to move to the newer version, run pg_upgrade",
        path.display(), versions(found)
    )]
    OtherMajor {
        /// The directory of the database files.
        path: PathBuf,
        /// The major version that wrote them.
        data: u32,
        /// What is installed.
        found: Vec<(Version, PathBuf)>,
    },
    /// root has no unprivileged user to run PostgreSQL as, or may not become it.
    #[error(
        "PostgreSQL refuses to run as root, and it cannot be run as another user: {reason}; start as an \
         ordinary user, or name a --data-dir that ordinary users may enter"
    )]
    NoUnprivilegedUser {
        /// What is missing.
        reason: String,
    },
    /// The database files could not be made.
    #[error("PostgreSQL could not set up its files in {}; it said:\n{said}", path.display())]
    InitFailed {
        /// The directory.
        path: PathBuf,
        /// The last lines of the output.
        said: String,
    },
    /// The server ended before it took a connection.
    #[error("PostgreSQL ended at once ({status}); its log, {}, ends with:\n{said}", log.display())]
    Ended {
        /// How it ended.
        status: String,
        /// The log.
        log: PathBuf,
        /// The last lines of the log.
        said: String,
    },
    /// The server ran and died.
    #[error("PostgreSQL died ({status}); its log, {}, ends with:\n{said}", log.display())]
    Died {
        /// How it ended.
        status: String,
        /// The log.
        log: PathBuf,
        /// The last lines of the log.
        said: String,
    },
    /// The server runs and takes no connection.
    #[error(
        "PostgreSQL took no connection within {seconds} s ({answer}); look into its log, {}",
        log.display()
    )]
    NotReady {
        /// How long it was waited for.
        seconds: u64,
        /// What it said last.
        answer: String,
        /// The log.
        log: PathBuf,
    },
    /// Processes of an earlier server still work on the files.
    #[error(
        "processes of an earlier PostgreSQL still use {}; wait until they end, or end them{}",
        path.display(), pid.map(|pid| format!(" (process {pid})")).unwrap_or_default()
    )]
    StillUsed {
        /// The directory of the database files.
        path: PathBuf,
        /// The earlier server, where it is known.
        pid: Option<i32>,
    },
    /// The server did not stop.
    #[error("PostgreSQL (process {pid:?}) does not stop; look into its log before ending it by force")]
    DoesNotStop {
        /// The server.
        pid: Option<i32>,
    },
    /// It was stopped before it was up.
    #[error("PostgreSQL was stopped before it was up")]
    Cancelled,
    /// Anything else that the operating system refused.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// With which path.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl PrivatePostgresError {
    /// Names what was tried, and sorts out the failures that have an error of their own.
    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::DiskFull { path },
            io::ErrorKind::NotADirectory => Self::NotADirectory { path },
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                Self::NotPermitted { action, path, source }
            }
            _ => Self::Io { action, path, source },
        }
    }

    /// Whether another try a moment later may go well without anybody's help.
    pub(super) const fn passes_by_itself(&self) -> bool {
        matches!(self, Self::StillUsed { .. })
    }
}

fn process(pid: Option<u32>) -> String {
    pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
}

fn list(paths: &[PathBuf]) -> String {
    let paths: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
    paths.join(", ")
}

fn versions(found: &[(Version, PathBuf)]) -> String {
    let found: Vec<String> =
        found.iter().map(|(version, path)| format!("{version} ({})", path.display())).collect();
    found.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_told_apart_from_other_failures() {
        let full = PrivatePostgresError::io("write", Path::new("/d"))(io::ErrorKind::StorageFull.into());
        let denied =
            PrivatePostgresError::io("write", Path::new("/d"))(io::ErrorKind::PermissionDenied.into());
        assert!(matches!(full, PrivatePostgresError::DiskFull { .. }));
        assert!(matches!(denied, PrivatePostgresError::NotPermitted { .. }));
    }

    #[test]
    fn the_other_major_version_is_named_with_the_way_out() {
        let error = PrivatePostgresError::OtherMajor {
            path: "/d/postgres".into(),
            data: 16,
            found: vec![(Version { major: 15, minor: 4 }, "/usr/lib/postgresql/15/bin".into())],
        };
        let text = error.to_string();
        assert!(text.contains("files of PostgreSQL 16"), "{text}");
        assert!(text.contains("15.4 (/usr/lib/postgresql/15/bin)"), "{text}");
        assert!(text.contains("`postgresql-16`"), "{text}");
    }
}
