//! The private PostgreSQL: a server that Tenure creates, starts, supervises and stops with its own process.
//!
//! ```text
//! <data dir>/lock           locked by the owner for its whole lifetime; a locked file means "in use"
//! <data dir>/postgres/      the database files, 0700
//! <data dir>/run/           the socket, 0700 (in the temporary directory if its path would be too long)
//! <data dir>/postgres.log   the output of the server, 0600
//! ```
//!
//! The server has no TCP port and no password: any user who can enter the socket's directory is its superuser.

mod binaries;
mod control;
mod data_dir;
mod error;
mod initialise;
mod launcher;
mod log;
mod memory;
mod orphan;
mod probe;
mod server;
mod settings;
mod start_failure;
mod supervisor;
mod version;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::sync::{oneshot, watch};

pub use data_dir::{temp_dir, unusable_temp_dir};
pub use error::PrivatePostgresError;
pub use settings::{Endpoint, Options, State};
pub use version::Version;

use control::Control;
use data_dir::DataDir;
use probe::{Answer, probe};
use settings::{DATABASE, SUPERUSER};

use crate::clock::Stopwatch;

/// How long a fast shutdown (SIGINT) may take, and then an immediate one (SIGQUIT).
const FAST: Duration = Duration::from_secs(30);
const IMMEDIATE: Duration = Duration::from_secs(15);

/// A private server that is starting or running. Dropping it also shuts the server down, but only
/// [`PrivatePostgres::stop`] waits for it.
#[derive(Debug)]
pub struct PrivatePostgres {
    /// Answers the first start; none once it has been answered.
    first: Option<oneshot::Receiver<Result<(), PrivatePostgresError>>>,
    endpoint: Endpoint,
    state: watch::Receiver<State>,
    control: StopOnDrop,
}

impl PrivatePostgres {
    /// Starts the server of a data directory, creating missing files, and returns when it accepts connections.
    ///
    /// Waits for recovery after a crash, up to ten minutes. Dropping the future stops the server.
    ///
    /// # Errors
    /// See [`PrivatePostgresError`]. After an error no server is running and the directory is free again.
    pub async fn start(options: Options) -> Result<Self, PrivatePostgresError> {
        let mut server = Self::begin(options)?;
        server.ready().await?;
        Ok(server)
    }

    /// Begins the start of the server and returns at once, so that the caller can stop a start that takes long.
    ///
    /// # Errors
    /// [`PrivatePostgresError`] if the data directory cannot be created or there is no thread left.
    pub fn begin(options: Options) -> Result<Self, PrivatePostgresError> {
        let data_dir = DataDir::open(&options.data_dir)?;
        let endpoint = Endpoint { socket_dir: data_dir.socket_dir(), user: SUPERUSER, database: DATABASE };
        let (state_sender, state) = watch::channel(State::Starting);
        let (first_sender, first) = oneshot::channel();
        let control = StopOnDrop(Arc::default());
        let shared = Arc::clone(&control.0);
        // The kernel signals the server when the thread that started it ends (PR_SET_PDEATHSIG), so it gets its own
        // thread.
        std::thread::Builder::new()
            .name("private-postgres".to_owned())
            .spawn(move || supervisor::supervise(&options, &shared, &state_sender, first_sender))
            .map_err(PrivatePostgresError::io("start a thread for", data_dir.path()))?;
        Ok(Self { first: Some(first), endpoint, state, control })
    }

    /// Waits until the server accepts connections for the first time.
    ///
    /// # Errors
    /// See [`PrivatePostgres::start`].
    pub async fn ready(&mut self) -> Result<(), PrivatePostgresError> {
        match self.first.take() {
            Some(first) => first.await.unwrap_or(Err(PrivatePostgresError::Cancelled)),
            None => Ok(()),
        }
    }

    /// The socket, user and database to connect to.
    #[must_use]
    pub const fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// The current state of the server, and its changes.
    #[must_use]
    pub fn state(&self) -> watch::Receiver<State> {
        self.state.clone()
    }

    /// Shuts the server down, also one that is still starting, and waits until it has exited and the directory is
    /// free.
    ///
    /// # Errors
    /// [`PrivatePostgresError::DoesNotStop`] if the server does not exit within 45 s.
    pub async fn stop(mut self) -> Result<(), PrivatePostgresError> {
        self.stop_within(FAST, IMMEDIATE).await
    }

    /// Shuts the server down fast, and after `fast` immediately, for which it has `immediate`.
    ///
    /// # Errors
    /// [`PrivatePostgresError::DoesNotStop`] if the server does not exit within that time.
    pub async fn stop_within(
        &mut self,
        fast: Duration,
        immediate: Duration,
    ) -> Result<(), PrivatePostgresError> {
        self.control.0.request_stop();
        if self.ended_within(fast).await {
            return Ok(());
        }
        // SIGQUIT loses nothing that was committed: the next start replays the WAL. SIGKILL is never sent, because then
        // the server could not stop its child processes.
        tracing::warn!(
            "PostgreSQL did not shut down in time; stopping it immediately, the next start will recover"
        );
        self.control.0.signal(Signal::SIGQUIT);
        if self.ended_within(immediate).await {
            return Ok(());
        }
        Err(PrivatePostgresError::DoesNotStop { pid: self.control.0.pid().map(nix::unistd::Pid::as_raw) })
    }

    async fn ended_within(&mut self, limit: Duration) -> bool {
        tokio::time::timeout(limit, self.state.wait_for(State::is_last)).await.is_ok()
    }
}

#[derive(Debug)]
struct StopOnDrop(Arc<Control>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.request_stop();
    }
}

/// The endpoint of the server, if another process owns the data directory.
///
/// # Errors
/// [`PrivatePostgresError::NotAnswering`] if the server of that process accepts no connections; another [`PrivatePostgresError`] if the
/// directory or its lock file cannot be read.
pub fn running(data_dir: &Path) -> Result<Option<Endpoint>, PrivatePostgresError> {
    let Some(data_dir) = DataDir::existing(data_dir)? else {
        return Ok(None);
    };
    let waited = Stopwatch::start();
    // A server that is starting or stopping is soon ready, or gone.
    while let Some(owner) = data_dir.owner()? {
        let endpoint = Endpoint { socket_dir: owner.socket_dir, user: SUPERUSER, database: DATABASE };
        let reason = match probe(&endpoint) {
            Answer::Ready => return Ok(Some(endpoint)),
            Answer::NotYet => "it is starting, recovering or stopping".to_owned(),
            Answer::Silent(_) if !endpoint.socket().exists() => "it is starting or stopping".to_owned(),
            Answer::Silent(reason) | Answer::Refused(reason) => reason,
        };
        if waited.elapsed() >= RUNS_WITHIN {
            return Err(PrivatePostgresError::NotAnswering { pid: owner.pid, reason });
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(None)
}

/// How long another process's server has to accept connections.
const RUNS_WITHIN: Duration = Duration::from_secs(5);

/// Whether the data directory has the database files of a private server.
///
/// # Errors
/// [`PrivatePostgresError`] if it cannot be read.
pub fn exists(data_dir: &Path) -> Result<bool, PrivatePostgresError> {
    Ok(DataDir::existing(data_dir)?.is_some_and(|data_dir| data_dir.pgdata().exists()))
}

/// Describes the server that would be used for new files: its version and directory.
///
/// # Errors
/// [`PrivatePostgresError::BinariesMissing`] or [`PrivatePostgresError::TooOld`] if no installed server can be used.
pub fn installed(bin_dir: Option<&Path>) -> Result<String, PrivatePostgresError> {
    let chosen = binaries::choose(binaries::find(bin_dir), None)?;
    Ok(format!("PostgreSQL {} in {}", chosen.version, chosen.bin_dir.display()))
}
