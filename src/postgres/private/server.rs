//! Runs the server once: removes what an earlier one left, starts the process, and waits until it accepts connections.

use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

use super::binaries::{self, Installation};
use super::control::{Control, PROBE_INTERVAL};
use super::data_dir::{DataDir, Lock};
use super::error::PrivatePostgresError;
use super::initialise;
use super::launcher::{Launcher, quoted, setting};
use super::log::Log;
use super::memory;
use super::orphan;
use super::probe::{Answer, probe};
use super::settings::{DATABASE, Endpoint, Options, SUPERUSER};
use super::start_failure::{StartFailure, start_failure};
use crate::clock::Stopwatch;

/// How long a server may give no answer after its start, and how long recovery may take.
const SILENT: Duration = Duration::from_mins(1);
const RECOVERING: Duration = Duration::from_mins(10);

/// Settings for the command line, so that they also apply to existing data directories and override their files.
const SETTINGS: &[(&str, &str)] = &[
    ("cluster_name", "tenure"),
    ("listen_addresses", ""),
    ("port", "5432"),
    ("unix_socket_permissions", "0700"),
    // Durability: no acknowledged write is lost.
    ("fsync", "on"),
    ("synchronous_commit", "on"),
    ("full_page_writes", "on"),
    ("wal_level", "replica"),
    ("min_wal_size", "1GB"),
    ("max_wal_size", "2GB"),
    ("checkpoint_timeout", "15min"),
    ("checkpoint_completion_target", "0.9"),
    // Sized for a small machine.
    ("max_connections", "100"),
    ("jit", "off"),
    ("autovacuum_max_workers", "2"),
    ("autovacuum_naptime", "30s"),
    // No secrets or personal data in the log: no statements, parameters or details.
    ("logging_collector", "off"),
    ("log_destination", "stderr"),
    ("log_line_prefix", "%m [%p] "),
    ("log_min_messages", "warning"),
    ("log_min_error_statement", "panic"),
    ("log_error_verbosity", "terse"),
    ("log_statement", "none"),
    ("log_min_duration_statement", "-1"),
    ("log_min_duration_sample", "-1"),
    ("log_transaction_sample_rate", "0"),
    ("log_parameter_max_length", "0"),
    ("log_parameter_max_length_on_error", "0"),
    ("log_checkpoints", "off"),
    ("log_timezone", "UTC"),
    ("timezone", "UTC"),
    ("lc_messages", "C"),
];

/// A server that can be started repeatedly. Holds the lock of its data directory.
#[derive(Debug)]
pub(super) struct Server {
    data_dir: DataDir,
    installation: Installation,
    launcher: Launcher,
    endpoint: Endpoint,
    _lock: Lock,
}

/// One running server process and its part of the log.
#[derive(Debug)]
pub(super) struct RunningServer {
    child: Child,
    log: Log,
}

impl Server {
    /// Locks the data directory and creates missing database files.
    pub fn prepare(options: &Options, control: &Control) -> Result<Self, PrivatePostgresError> {
        let data_dir = DataDir::open(&options.data_dir)?;
        // Locked before anything is read: another owner may be creating these files.
        let lock = data_dir.lock()?;
        let pgdata = data_dir.pgdata();
        let major = initialise::major_of(&pgdata)?;
        let found = binaries::find(options.bin_dir.as_deref());
        let installation = binaries::choose(found, major.map(|major| (major, pgdata.as_path())))?;
        let launcher = Launcher::new(&data_dir, &installation.postgres())?;
        if major.is_none() {
            launcher.require_known_user()?;
            initialise::initialise(&data_dir, &installation, &launcher, control)?;
        }
        let socket_dir = data_dir.socket_dir();
        let endpoint = Endpoint { socket_dir, user: SUPERUSER, database: DATABASE };
        Ok(Self { data_dir, installation, launcher, endpoint, _lock: lock })
    }

    pub const fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Starts the server and returns when it accepts connections.
    pub fn start(&self, control: &Control) -> Result<RunningServer, PrivatePostgresError> {
        let pgdata = self.data_dir.pgdata();
        // Repeated at each restart: a cleaner of the temporary directory may have removed the socket's directory.
        self.launcher.own_dir(&pgdata)?;
        self.launcher.own_dir(&self.endpoint.socket_dir)?;
        orphan::clear(&pgdata, &self.endpoint.socket_dir, control)?;
        let log = Log::open(&self.data_dir)?;
        let mut command = self.command(control);
        let started = Launcher::logged(&mut command, &log.file).and_then(|()| control.spawn(&mut command));
        let started = started.map_err(PrivatePostgresError::io("start", &self.installation.postgres()))?;
        let mut running = RunningServer { child: started.ok_or(PrivatePostgresError::Cancelled)?, log };
        match self.until_ready(&mut running, control) {
            Ok(()) => Ok(running),
            Err(error) => {
                // An error must not leave a process on the files.
                control.end(&mut running.child).map_err(PrivatePostgresError::io("wait for", &pgdata))?;
                Err(error)
            }
        }
    }

    fn command(&self, control: &Control) -> Command {
        // SIGINT is a fast shutdown: sessions are closed, a checkpoint is written.
        let mut command = self.launcher.command(&self.installation.postgres(), "INT");
        command.arg("-D").arg(self.data_dir.pgdata());
        setting(&mut command, "unix_socket_directories", quoted(&self.endpoint.socket_dir));
        for (name, value) in SETTINGS {
            setting(&mut command, name, value);
        }
        setting(&mut command, "shared_buffers", memory::shared_buffers());
        setting(&mut command, "wal_compression", self.wal_compression(control));
        command
    }

    /// How full-page images in the WAL are compressed: LZ4 if this PostgreSQL was built with it, otherwise not at all,
    /// because PostgreSQL's own method takes longer than writing the page.
    fn wal_compression(&self, control: &Control) -> &'static str {
        let mut command = self.launcher.command(&self.installation.postgres(), "TERM");
        // With `-C`, the server only validates and prints the setting, then exits.
        command.arg("-D").arg(self.data_dir.pgdata()).args(["-C", "wal_compression"]);
        setting(&mut command, "wal_compression", "lz4");
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let accepted = match control.spawn(&mut command) {
            Ok(Some(mut child)) => control.wait(&mut child).is_ok_and(|status| status.success()),
            Ok(None) | Err(_) => false,
        };
        if accepted { "lz4" } else { "off" }
    }

    fn until_ready(
        &self,
        running: &mut RunningServer,
        control: &Control,
    ) -> Result<(), PrivatePostgresError> {
        let waited = Stopwatch::start();
        loop {
            // Before the probe: an exited server would look silent and use up the whole wait.
            let status = control.try_wait(&mut running.child);
            if let Some(status) =
                status.map_err(PrivatePostgresError::io("wait for", &self.installation.postgres()))?
            {
                return Err(self.ended(status, &running.log, control));
            }
            let (answer, patience) = match probe(&self.endpoint) {
                Answer::Ready => return Ok(()),
                Answer::NotYet => ("it is still starting or recovering".to_owned(), RECOVERING),
                Answer::Silent(answer) => (answer, SILENT),
                // Waiting does not change such a refusal.
                Answer::Refused(answer) => (answer, Duration::ZERO),
            };
            let elapsed = waited.elapsed();
            if elapsed >= patience {
                let log = running.log.path.clone();
                return Err(PrivatePostgresError::NotReady { seconds: elapsed.as_secs(), answer, log });
            }
            thread::sleep(PROBE_INTERVAL);
        }
    }

    fn ended(&self, status: ExitStatus, log: &Log, control: &Control) -> PrivatePostgresError {
        // Asked to stop, the server may exit with any status; that is not a failure.
        if control.stopping() {
            return PrivatePostgresError::Cancelled;
        }
        let (said, path) = (log.tail(), self.data_dir.pgdata());
        match start_failure(&said) {
            StartFailure::DiskFull => PrivatePostgresError::DiskFull { path },
            StartFailure::StillUsed => PrivatePostgresError::StillUsed { path, pid: None },
            StartFailure::Damaged => PrivatePostgresError::Damaged { path, what: said },
            StartFailure::Unknown => {
                PrivatePostgresError::Ended { status: status.to_string(), log: log.path.clone(), said }
            }
        }
    }

    /// Waits until a server that accepted connections exits, and returns why.
    pub fn wait_until_ended(&self, mut running: RunningServer, control: &Control) -> PrivatePostgresError {
        let status = match control.wait(&mut running.child) {
            Ok(status) => status,
            Err(error) => return PrivatePostgresError::io("wait for", &self.installation.postgres())(error),
        };
        let (said, log) = (running.log.tail(), running.log.path);
        PrivatePostgresError::Died { status: status.to_string(), log, said }
    }
}
