//! The private NATS: a nats-server in operator mode that Tenure starts, supervises and stops with its own process.
//!
//! ```text
//! <data dir>/nats/lock              locked by the process that runs the server
//! <data dir>/nats/nats-server.conf  the configuration, written at each start
//! <data dir>/nats/operator.nk       the operator's identity seed, 0600: may be moved elsewhere
//! <data dir>/nats/accounts/         the tokens of accounts, which the server keeps
//! <data dir>/nats/jetstream/        the streams
//! <data dir>/nats/url               where the server listens
//! <data dir>/nats/id                identifies this directory among those of other nodes
//! <data dir>/nats/nats-server.log   its output
//! ```

use std::fs::{self, File, OpenOptions};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::sync::oneshot;
use uuid::Uuid;

use super::error::{self, NatsError};
use super::keys::OperatorKeys;
use super::server_config::{ServerFiles, write};
use super::store::Store;
use super::version::is_safe;
use crate::Tenure;
use crate::clock::Stopwatch;
use crate::entropy::uuid_v7;

/// The address of a private server, unless another process has it.
pub const DEFAULT_LISTEN: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 4_222);

/// Names the program.
const BINARY_VARIABLE: &str = "NATS_SERVER_BIN";

/// How long to wait for the first start. A server that takes longer, because it has many streams to recover, goes on starting.
const FIRST_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a program may take to tell its version.
const VERSION_TIMEOUT: Duration = Duration::from_secs(5);

/// How long to wait for the lock of the directory: a server that is stopping still has it.
const LOCK_TIMEOUT: Duration = Duration::from_secs(8);

/// How long a process may take to stop.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// How often the process is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// The pauses before the server is started again.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Why there is no private server.
#[derive(Debug, thiserror::Error)]
pub enum PrivateNatsError {
    /// No program that may be used is on this machine.
    #[error("no nats-server that keeps tenants apart was found{}; install {}, or set {BINARY_VARIABLE}", reasons(.skipped), error::SAFE)]
    NotFound {
        /// Programs that were found and not used, each with the reason.
        skipped: Vec<String>,
    },
    /// The server did not start.
    #[error("nats-server did not start: {reason}; see {}", .log.display())]
    NotStarted {
        /// What is known of why.
        reason: String,
        /// Its output.
        log: PathBuf,
    },
    /// Another data directory has the private NATS of this database.
    #[error("another node runs the private NATS of this database, at {url}")]
    OfAnotherNode {
        /// Where it listens.
        url: String,
    },
    /// The server of this data directory is run by another process.
    #[error("another process runs the private NATS of this directory")]
    Shared,
    /// The server cannot listen there.
    #[error("nats-server cannot listen on {address}: {reason}")]
    Address {
        /// The address.
        address: SocketAddr,
        /// What is wrong.
        reason: String,
    },
    /// Files or keys of the server cannot be used.
    #[error(transparent)]
    Nats(#[from] NatsError),
    /// A file of the server cannot be used.
    #[error("cannot use {}: {reason}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

fn reasons(skipped: &[String]) -> String {
    if skipped.is_empty() { String::new() } else { format!(" ({})", skipped.join("; ")) }
}

/// The program: the one that the environment names, else the one beside this build, else the first on the path that keeps tenants
/// apart.
///
/// # Errors
/// [`PrivateNatsError::NotFound`]
pub async fn find_binary() -> Result<PathBuf, PrivateNatsError> {
    let mut skipped = Vec::new();
    let named = std::env::var_os(BINARY_VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from);
    let candidates = if let Some(named) = named {
        // Nothing takes the place of one that was named.
        vec![named]
    } else {
        let exe = std::env::current_exe().unwrap_or_default();
        // From `target/release/tenure`, and from the tests, which are one directory deeper.
        let beside = exe.ancestors().skip(2).take(2).map(|dir| dir.join("nats/bin/nats-server"));
        let path = std::env::var_os("PATH").unwrap_or_default();
        beside
            .chain(std::env::split_paths(&path).map(|dir| dir.join("nats-server")))
            .filter(|path| path.is_file())
            .collect()
    };
    for candidate in candidates {
        match version_of(&candidate).await {
            Ok(version) if is_safe(&version) => return Ok(candidate),
            Ok(version) => skipped.push(format!("{} is {version}", candidate.display())),
            Err(reason) => skipped.push(format!("{}: {reason}", candidate.display())),
        }
    }
    Err(PrivateNatsError::NotFound { skipped })
}

async fn version_of(program: &Path) -> Result<String, String> {
    let mut asked = tokio::process::Command::new(program);
    asked.arg("--version").stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(VERSION_TIMEOUT, asked.output()).await;
    let output = output.map_err(|_| "it does not answer".to_owned())?.map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(&output.stdout);
    let version = text.split_whitespace().find_map(|word| word.strip_prefix('v'));
    version.map(str::to_owned).ok_or_else(|| "it does not tell its version".to_owned())
}

/// The directory of the server's files.
fn directory(data_dir: &Path) -> PathBuf {
    let dir = data_dir.join("nats");
    // The server may have another working directory.
    std::path::absolute(&dir).unwrap_or(dir)
}

/// The URL of the server of a data directory, if a process runs it.
#[must_use]
pub fn running(data_dir: &Path) -> Option<String> {
    let dir = directory(data_dir);
    let lock = OpenOptions::new().read(true).write(true).open(dir.join("lock")).ok()?;
    match Flock::lock(lock, FlockArg::LockSharedNonblock) {
        Ok(_) => None,
        Err(_) => fs::read_to_string(dir.join("url")).ok().map(|url| url.trim().to_owned()),
    }
}

/// A private server. Dropping it stops the server too, without waiting.
#[derive(Debug)]
pub struct PrivateNats {
    url: String,
    directory_id: Uuid,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl PrivateNats {
    /// Starts the server of a data directory, with the operator of this log, which is made if there is none. Waits a while for it to
    /// accept connections; it is kept running in any case.
    ///
    /// # Errors
    /// [`PrivateNatsError`]
    pub async fn start(
        tenure: &Tenure,
        data_dir: &Path,
        listen: Option<SocketAddr>,
    ) -> Result<Self, PrivateNatsError> {
        let program = find_binary().await?;
        let dir = directory(data_dir);
        let lock = lock(&dir).await?;
        let listen = address(&dir, listen)?;
        let url = format!("nats://{}", reached(listen));
        let directory_id = identifier(tenure, &dir)?;
        if let Some(url) =
            Store::new(tenure.clone()).claim_private(directory_id, &url).await.map_err(NatsError::from)?
        {
            return Err(PrivateNatsError::OfAnotherNode { url });
        }
        let (keys, identity) = operator(tenure).await?;
        let files = ServerFiles { dir: dir.clone(), listen: listen.to_string(), is_alone: true };
        files.write(&keys, identity.as_deref().map(String::as_str))?;
        write(&dir.join("url"), &url)?;
        let (started, first) = oneshot::channel();
        let stop = Arc::new(AtomicBool::new(false));
        let supervisor = Supervisor { program, files, address: reached(listen), stop: stop.clone(), lock };
        let thread = std::thread::Builder::new()
            .name("nats-server".to_owned())
            .spawn(move || supervisor.run(started))
            .map_err(|error| PrivateNatsError::File { path: dir.clone(), reason: error.to_string() })?;
        let server = Self { url, directory_id, stop, thread: Some(thread) };
        match tokio::time::timeout(FIRST_TIMEOUT, first).await {
            Ok(Ok(Err(reason))) => {
                Err(PrivateNatsError::NotStarted { reason, log: dir.join("nats-server.log") })
            }
            Ok(Ok(Ok(()))) => Ok(server),
            Ok(Err(_)) | Err(_) => {
                tracing::warn!("nats-server does not accept connections yet; it is used as soon as it does");
                Ok(server)
            }
        }
    }

    /// Identifies the data directory among those of other nodes.
    #[must_use]
    pub const fn directory_id(&self) -> Uuid {
        self.directory_id
    }

    /// Where the server listens.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Stops the server and waits for its end.
    pub async fn stop(mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
    }
}

impl Drop for PrivateNats {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
    }
}

/// Takes the lock of the directory, which is made if it is missing.
async fn lock(dir: &Path) -> Result<Flock<File>, PrivateNatsError> {
    let path = dir.join("lock");
    let failed = |reason: String| PrivateNatsError::File { path: path.clone(), reason };
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(|error| failed(error.to_string()))?;
    let waited = Stopwatch::start();
    loop {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(|error| failed(error.to_string()))?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => return Ok(lock),
            Err(_) if waited.elapsed() < LOCK_TIMEOUT => tokio::time::sleep(LOOK_EVERY).await,
            Err(_) => return Err(PrivateNatsError::Shared),
        }
    }
}

/// The identifier of the directory, made if it has none.
fn identifier(tenure: &Tenure, dir: &Path) -> Result<Uuid, NatsError> {
    let path = dir.join("id");
    if let Some(id) = fs::read_to_string(&path).ok().and_then(|text| text.trim().parse().ok()) {
        return Ok(id);
    }
    let id = uuid_v7(tenure.clock().now(), &*tenure.entropy());
    write(&path, &id.to_string())?;
    Ok(id)
}

/// The operator of a log, made if there is none. Also the identity seed, if it was made now.
async fn operator(tenure: &Tenure) -> Result<(OperatorKeys, Option<zeroize::Zeroizing<String>>), NatsError> {
    let store = Store::new(tenure.clone());
    if let Some(keys) = store.keys().await? {
        return Ok((keys, None));
    }
    let (keys, identity) = OperatorKeys::new(tenure.clock().now(), &*tenure.entropy())?;
    if store.replace_keys(None, &keys).await? {
        return Ok((keys, Some(identity)));
    }
    // Another node was faster.
    Ok((store.keys().await?.ok_or(NatsError::NoOperator)?, None))
}

/// The address to listen on: the one that is set, else the one of the last run, else the usual one, else any that is free.
fn address(dir: &Path, listen: Option<SocketAddr>) -> Result<SocketAddr, PrivateNatsError> {
    let bind = |address: SocketAddr| TcpListener::bind(address).and_then(|bound| bound.local_addr());
    if let Some(listen) = listen {
        return bind(listen)
            .map_err(|error| PrivateNatsError::Address { address: listen, reason: error.to_string() });
    }
    let last = fs::read_to_string(dir.join("url")).ok();
    let last = last.and_then(|url| url.trim().strip_prefix("nats://")?.parse::<SocketAddr>().ok());
    let any = SocketAddr::new(DEFAULT_LISTEN.ip(), 0);
    last.into_iter().chain([DEFAULT_LISTEN, any]).find_map(|address| bind(address).ok()).ok_or_else(|| {
        PrivateNatsError::Address { address: DEFAULT_LISTEN, reason: "no port is free".to_owned() }
    })
}

/// Where clients of this machine reach a server that listens on this address.
fn reached(listen: SocketAddr) -> SocketAddr {
    if listen.ip().is_unspecified() { SocketAddr::new(DEFAULT_LISTEN.ip(), listen.port()) } else { listen }
}

/// Starts the server, and starts it again when it ends.
struct Supervisor {
    program: PathBuf,
    files: ServerFiles,
    /// Where it accepts connections.
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    lock: Flock<File>,
}

impl Supervisor {
    fn run(self, started: oneshot::Sender<Result<(), String>>) {
        let mut started = Some(started);
        let mut pause = FIRST_PAUSE;
        while !self.stop.load(Ordering::SeqCst) {
            match self.launch() {
                Ok(child) => {
                    if let Some(started) = started.take() {
                        let _ = started.send(Ok(()));
                    }
                    let lived = Stopwatch::start();
                    self.wait(child);
                    if lived.elapsed() > LONGEST_PAUSE {
                        pause = FIRST_PAUSE;
                    }
                }
                Err(reason) => {
                    tracing::warn!(reason, "nats-server cannot be started");
                    // If a caller is waiting for the first start, it gets the error and gives up.
                    if started.take().is_some_and(|started| started.send(Err(reason)).is_ok()) {
                        return;
                    }
                }
            }
            if self.stop.load(Ordering::SeqCst) {
                return;
            }
            tracing::warn!("nats-server has ended; starting it again");
            std::thread::sleep(pause);
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Starts the process, and waits until it accepts connections.
    fn launch(&self) -> Result<Child, String> {
        // `setpriv` ends it with this thread, also if this process is killed; it may be missing, too old, or not permitted.
        let first = self.launch_once(true);
        if first.is_ok() || self.stop.load(Ordering::SeqCst) {
            return first;
        }
        self.launch_once(false)
    }

    fn launch_once(&self, with_setpriv: bool) -> Result<Child, String> {
        let log = self.files.dir.join("nats-server.log");
        let log = OpenOptions::new().create(true).append(true).mode(0o600).open(&log);
        let log = log.map_err(|error| error.to_string())?;
        let mut command = if with_setpriv {
            let mut command = Command::new("setpriv");
            command.args(["--pdeathsig", "TERM", "--"]).arg(&self.program);
            command
        } else {
            Command::new(&self.program)
        };
        let path = std::env::var_os("PATH").unwrap_or_default();
        command.env_clear().env("PATH", path).arg("-c").arg(self.files.config()).process_group(0);
        let prepared = (|| -> std::io::Result<Child> {
            // It holds the lock as long as it lives: one that outlives this process is found, and no second one is started.
            command.stdin(self.lock.try_clone()?);
            command.stdout(log.try_clone()?).stderr(log.try_clone()?).spawn()
        })();
        let mut child = prepared.map_err(|error| error.to_string())?;
        loop {
            if let Ok(Some(status)) = child.try_wait() {
                return Err(format!("it ended with {status}"));
            }
            if TcpStream::connect_timeout(&self.address, Duration::from_secs(1)).is_ok() {
                return Ok(child);
            }
            if self.stop.load(Ordering::SeqCst) {
                end(&mut child);
                return Err("it was stopped".to_owned());
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// Waits until the process ends, or ends it when it should stop.
    fn wait(&self, mut child: Child) {
        loop {
            if matches!(child.try_wait(), Ok(Some(_)) | Err(_)) {
                return;
            }
            if self.stop.load(Ordering::SeqCst) {
                return end(&mut child);
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }
}

/// Ends a process, by force if it does not end by itself.
fn end(child: &mut Child) {
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap_or(i32::MAX));
    let _ = kill(pid, Signal::SIGTERM);
    let waited = Stopwatch::start();
    while waited.elapsed() < STOP_TIMEOUT {
        if matches!(child.try_wait(), Ok(Some(_)) | Err(_)) {
            return;
        }
        std::thread::sleep(LOOK_EVERY);
    }
    let _ = child.kill();
    let _ = child.wait();
}
