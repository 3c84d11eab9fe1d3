//! What a private server is told, where it takes connections, and how it is.

use std::path::PathBuf;

pub(super) const SUPERUSER: &str = "tenure";
pub(super) const DATABASE: &str = "tenure";

/// The port is part of the socket's name.
pub(super) const SOCKET_NAME: &str = ".s.PGSQL.5432";

/// What a private server needs to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Where everything lies; made if it is missing.
    pub data_dir: PathBuf,
    /// The one directory in which to look for `initdb` and `postgres`; `None` looks everywhere.
    pub bin_dir: Option<PathBuf>,
}

/// Where a private server takes connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The directory of the socket: libpq's `host`.
    pub socket_dir: PathBuf,
    /// The superuser, who needs no password.
    pub user: &'static str,
    /// The database.
    pub database: &'static str,
}

impl Endpoint {
    /// The socket itself; its name stands for port 5432.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.socket_dir.join(SOCKET_NAME)
    }
}

/// How the server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// It has not taken a connection yet.
    Starting,
    /// It takes connections.
    Running {
        /// The number of its first process.
        pid: i32,
    },
    /// It died and is started again.
    Restarting,
    /// It was asked to stop, and did.
    Stopped,
    /// It failed for good; nothing runs any more.
    Failed {
        /// Why.
        reason: String,
    },
}

impl State {
    pub(super) const fn is_last(&self) -> bool {
        matches!(self, Self::Stopped | Self::Failed { .. })
    }
}
