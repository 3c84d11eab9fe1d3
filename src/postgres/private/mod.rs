//! A PostgreSQL of our own: made, started, watched over and stopped with this process.
//!
//! ```text
//! <data dir>/lock           held by the owner for its whole life: what "in use" means
//! <data dir>/postgres/      the database files, 0700
//! <data dir>/run/           the socket, 0700 (a directory in the temporary one if its path would be too long)
//! <data dir>/postgres.log   what the server says, 0600
//! ```
//!
//! The server has no TCP port; whoever may enter the socket's directory is its superuser.

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

pub use error::PrivatePostgresError;
pub use settings::{Endpoint, Options, State};
pub use version::Version;

use control::Control;
use data_dir::DataDir;
use probe::{Answer, probe};
use settings::{DATABASE, SUPERUSER};

/// How long a fast shutdown may take, and how long an immediate one.
const FAST: Duration = Duration::from_secs(30);
const IMMEDIATE: Duration = Duration::from_secs(15);

/// A running private server. Dropped without [`PrivatePostgres::stop`], it shuts down too, but nobody waits for it.
#[derive(Debug)]
pub struct PrivatePostgres {
    endpoint: Endpoint,
    state: watch::Receiver<State>,
    control: StopOnDrop,
}

impl PrivatePostgres {
    /// Starts the server of a data directory, making what is missing, and returns when it takes connections.
    ///
    /// Recovery after a crash is waited for (up to ten minutes). Dropping the future stops what was begun.
    ///
    /// # Errors
    /// See [`PrivatePostgresError`]; afterwards nothing runs and the directory is free again.
    pub async fn start(options: Options) -> Result<Self, PrivatePostgresError> {
        let (state_sender, state) = watch::channel(State::Starting);
        let (first_sender, first) = oneshot::channel();
        let control = StopOnDrop(Arc::default());
        let shared = Arc::clone(&control.0);
        let data_dir = options.data_dir.clone();
        // The server ends with the thread that started it, so this thread does nothing else.
        std::thread::Builder::new()
            .name("private-postgres".to_owned())
            .spawn(move || supervisor::supervise(&options, &shared, &state_sender, first_sender))
            .map_err(PrivatePostgresError::io("start a thread for", &data_dir))?;
        let endpoint = first.await.map_err(|_| PrivatePostgresError::Cancelled)??;
        Ok(Self { endpoint, state, control })
    }

    /// Where to connect.
    #[must_use]
    pub const fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// How the server is, now and from now on.
    #[must_use]
    pub fn state(&self) -> watch::Receiver<State> {
        self.state.clone()
    }

    /// Shuts the server down and waits until it is gone and the directory is free.
    ///
    /// # Errors
    /// The server does not end.
    pub async fn stop(mut self) -> Result<(), PrivatePostgresError> {
        let control = &self.control.0;
        control.request_stop();
        if self.ended_within(FAST).await {
            return Ok(());
        }
        let control = &self.control.0;
        tracing::warn!("PostgreSQL does not shut down in time; it is stopped at once and will recover");
        control.signal(Signal::SIGQUIT);
        if self.ended_within(IMMEDIATE).await {
            return Ok(());
        }
        Err(PrivatePostgresError::DoesNotStop { pid: self.control.0.pid().map(nix::unistd::Pid::as_raw) })
    }

    async fn ended_within(&mut self, patience: Duration) -> bool {
        tokio::time::timeout(patience, self.state.wait_for(State::is_last)).await.is_ok()
    }
}

#[derive(Debug)]
struct StopOnDrop(Arc<Control>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.request_stop();
    }
}

/// Where to connect if another process owns the data directory and its server is up.
///
/// # Errors
/// The directory cannot be looked into.
pub fn running(data_dir: &Path) -> Result<Option<Endpoint>, PrivatePostgresError> {
    let Some(data_dir) = DataDir::existing(data_dir)? else {
        return Ok(None);
    };
    let owner = data_dir.owner()?;
    let endpoint =
        owner.map(|owner| Endpoint { socket_dir: owner.socket_dir, user: SUPERUSER, database: DATABASE });
    Ok(endpoint.filter(|endpoint| probe(endpoint) == Answer::Ready))
}

/// Which server a start would use, for people: its version and where it is.
///
/// # Errors
/// There is none that can be used.
pub fn installed(bin_dir: Option<&Path>) -> Result<String, PrivatePostgresError> {
    let chosen = binaries::choose(binaries::find(bin_dir), None)?;
    Ok(format!("PostgreSQL {} in {}", chosen.version, chosen.bin_dir.display()))
}
