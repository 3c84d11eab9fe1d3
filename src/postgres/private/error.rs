//! The error of the private server. Messages say what is wrong, then what to do.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use nix::unistd::{User, geteuid};

use super::version::Version;
use crate::postgres::version::OLDEST;

/// Why the private server is not running.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PrivatePostgresError {
    /// Another process owns the data directory.
    #[error(
        "the data directory {} is in use by {}; stop that process, or choose another directory with --data-dir",
        data_dir.display(), process(*pid)
    )]
    InUse {
        /// The path of the data directory.
        data_dir: PathBuf,
        /// The ID of the process that holds the lock; none if the lock file cannot be read.
        pid: Option<u32>,
    },
    /// Another process owns the data directory, and its server accepts no connections.
    #[error(
        "the private PostgreSQL of process {pid} does not answer ({reason}); try again; if this persists, look at that process"
    )]
    NotAnswering {
        /// The ID of the process that holds the lock.
        pid: u32,
        /// What the server or the system said.
        reason: String,
    },
    /// A path that must be a directory is something else.
    #[error("{} is not a directory; move it away, or choose another directory with --data-dir", path.display())]
    NotADirectory {
        /// The path that is not a directory.
        path: PathBuf,
    },
    /// The permissions or a read-only file system deny an action.
    #[error(
        "no permission to {action} {}{}; run as the user who owns it, make it writable, or choose another \
         directory with --data-dir",
        path.display(), owned(path)
    )]
    NotPermitted {
        /// The action, as a verb phrase in front of the path.
        action: &'static str,
        /// The path of the action.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// The disk or the quota is full.
    #[error("no space is left on the disk that holds {}; free some space and start again", path.display())]
    DiskFull {
        /// The file or directory that could not be written.
        path: PathBuf,
    },
    /// A directory that PostgreSQL needs belongs to another user.
    #[error(
        "{} belongs to {}, but must belong to {}; run as {}, or change its owner with `chown -R {expected}`",
        path.display(), name(*owner), name(*expected), name(*owner)
    )]
    WrongOwner {
        /// The path of the directory.
        path: PathBuf,
        /// The ID of its owner.
        owner: u32,
        /// The ID of the user that must own it.
        expected: u32,
    },
    /// A directory contains files that Tenure did not create.
    #[error("{} {what}; move it away, or choose another directory with --data-dir", path.display())]
    Foreign {
        /// The path of the directory.
        path: PathBuf,
        /// What it contains, as a verb phrase behind the path.
        what: &'static str,
    },
    /// The database files are incomplete or corrupt.
    #[error(
        "the database files in {} are damaged: {what}; restore the directory from a backup",
        path.display()
    )]
    Damaged {
        /// The directory of the database files.
        path: PathBuf,
        /// What is missing or corrupt.
        what: String,
    },
    /// No PostgreSQL server was found.
    #[error(
        "no PostgreSQL server found; install one (Debian, Ubuntu: `apt-get install postgresql`; \
         Fedora: `dnf install postgresql-server`; macOS: `brew install postgresql@17`), or set TENURE_POSTGRES_BIN to \
         the directory that contains `initdb` and `postgres`; searched: {}",
        list(searched)
    )]
    BinariesMissing {
        /// The directories that were searched.
        searched: Vec<PathBuf>,
    },
    /// All installed servers are too old.
    #[error(
        "PostgreSQL {found} in {} is too old; install version {} or newer (package `postgresql`), or set \
         TENURE_POSTGRES_BIN to the directory that contains its `initdb` and `postgres`",
        bin_dir.display(), OLDEST / 10_000
    )]
    TooOld {
        /// The version of the preferred installed server.
        found: Version,
        /// The directory of its programs.
        bin_dir: PathBuf,
    },
    /// The database files were written by a major version that is not installed.
    #[error(
        "{} holds the files of PostgreSQL {data}, but the servers on this machine are {}; install \
         PostgreSQL {data} (Debian, Ubuntu: `postgresql-{data}`), or set TENURE_POSTGRES_BIN to its directory; \
         to upgrade the files to a newer version, run pg_upgrade",
        path.display(), versions(found)
    )]
    OtherMajor {
        /// The directory of the database files.
        path: PathBuf,
        /// The major version that wrote the files.
        data: u32,
        /// The installed servers: version and directory.
        found: Vec<(Version, PathBuf)>,
    },
    /// This process runs as root and cannot run PostgreSQL as an unprivileged user.
    #[error(
        "PostgreSQL refuses to run as root, and Tenure cannot run it as another user: {reason}; start Tenure as an \
         ordinary user, or choose a --data-dir that ordinary users can enter"
    )]
    NoUnprivilegedUser {
        /// Why PostgreSQL cannot run as another user.
        reason: String,
    },
    /// The user of this process has no entry in the user database, which `initdb` requires.
    #[error(
        "user {uid} has no entry in /etc/passwd, without which PostgreSQL does not create its files; add one \
         (`echo 'tenure:x:{uid}:0::/:/sbin/nologin' >>/etc/passwd` in the image), run as a user that has one, or set \
         DATABASE_URL to a PostgreSQL of your own"
    )]
    UnknownUser {
        /// The ID of the user.
        uid: u32,
    },
    /// The database files could not be created.
    #[error("PostgreSQL could not create its files in {}; its output ends with:\n{said}", path.display())]
    InitFailed {
        /// The directory of the unfinished files.
        path: PathBuf,
        /// The last lines of the output.
        said: String,
    },
    /// The server exited before it accepted a connection.
    #[error("PostgreSQL exited during its start ({status}); its log, {}, ends with:\n{said}", log.display())]
    Ended {
        /// The exit status or the signal.
        status: String,
        /// The path of the log.
        log: PathBuf,
        /// The last lines of the log.
        said: String,
    },
    /// The server accepted connections and then exited unexpectedly.
    #[error("PostgreSQL exited unexpectedly ({status}); its log, {}, ends with:\n{said}", log.display())]
    Died {
        /// The exit status or the signal.
        status: String,
        /// The path of the log.
        log: PathBuf,
        /// The last lines of the log.
        said: String,
    },
    /// The server is running but did not accept connections in time.
    #[error(
        "PostgreSQL did not accept connections within {seconds} s ({answer}); see its log, {}",
        log.display()
    )]
    NotReady {
        /// The seconds waited; 0 after a refusal.
        seconds: u64,
        /// The last answer of the server, or the I/O error.
        answer: String,
        /// The path of the log.
        log: PathBuf,
    },
    /// Processes of an earlier server still use the files.
    #[error(
        "processes of an earlier PostgreSQL still use {}; wait until they exit, or stop them{}",
        path.display(), pid.map(|pid| format!(" (process {pid})")).unwrap_or_default()
    )]
    StillUsed {
        /// The directory of the database files.
        path: PathBuf,
        /// The process ID of the earlier server, if it is known.
        pid: Option<i32>,
    },
    /// The server did not stop within the time for a fast and an immediate shutdown.
    #[error(
        "PostgreSQL{} did not stop; read its log before you kill it",
        pid.map(|pid| format!(" (process {pid})")).unwrap_or_default()
    )]
    DoesNotStop {
        /// The process ID of the server, if it is known.
        pid: Option<i32>,
    },
    /// A stop was requested before the server accepted connections.
    #[error("PostgreSQL was stopped before it was ready")]
    Cancelled,
    /// Any other error of the operating system.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// The action, as a verb phrase in front of the path.
        action: &'static str,
        /// The path of the action.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
}

impl PrivatePostgresError {
    /// Adds the action and the path to an I/O error, and maps the kinds that have a variant of their own.
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

    /// Whether the failure may resolve itself, so that a retry a moment later may succeed.
    pub(super) const fn passes_by_itself(&self) -> bool {
        matches!(self, Self::StillUsed { .. })
    }
}

/// The name of a user, or the number of one without a name.
fn name(uid: u32) -> String {
    match User::from_uid(uid.into()) {
        Ok(Some(user)) => format!("user `{}`", user.name),
        _ => format!("user {uid}"),
    }
}

/// Whose the path is, or else the nearest directory above it that can be seen; empty if it is this process's own.
fn owned(path: &Path) -> String {
    let seen = path.ancestors().find_map(|path| Some((path, std::fs::symlink_metadata(path).ok()?.uid())));
    match seen {
        Some((_, uid)) if uid == geteuid().as_raw() => String::new(),
        Some((seen, uid)) if seen == path => format!(", which belongs to {}", name(uid)),
        Some((seen, uid)) => format!(" ({} belongs to {})", seen.display(), name(uid)),
        None => String::new(),
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
