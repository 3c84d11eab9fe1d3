//! The options, endpoint and state of a private server.

use std::path::PathBuf;

pub(super) const SUPERUSER: &str = "tenure";
pub(super) const DATABASE: &str = "tenure";

/// The file name of the socket, which contains the port.
pub(super) const SOCKET_NAME: &str = ".s.PGSQL.5432";

/// The options for starting a private server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The directory for all files of the server; created if it is missing.
    pub data_dir: PathBuf,
    /// The only directory in which to look for `initdb` and `postgres`; `None` searches the usual places.
    pub bin_dir: Option<PathBuf>,
}

/// Where a private server accepts connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The directory of the socket, to be used as libpq's `host`.
    pub socket_dir: PathBuf,
    /// The superuser; needs no password.
    pub user: &'static str,
    /// The database to connect to.
    pub database: &'static str,
}

impl Endpoint {
    /// The path of the socket; its name contains port 5432.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.socket_dir.join(SOCKET_NAME)
    }
}

/// The state of a private server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// The server has not accepted a connection yet.
    Starting,
    /// The server accepts connections.
    Running {
        /// The process ID of the postmaster.
        pid: i32,
    },
    /// The server exited unexpectedly and is being restarted.
    Restarting,
    /// The server stopped on request.
    Stopped,
    /// The server failed and is not restarted; no process is running.
    Failed {
        /// The error message of the last failure.
        reason: String,
    },
}

impl State {
    pub(super) const fn is_last(&self) -> bool {
        matches!(self, Self::Stopped | Self::Failed { .. })
    }
}
