//! The private NATS: a nats-server in operator mode that Tenure starts, supervises and stops with its own process.
//!
//! ```text
//! <data dir>/nats/lock              locked by the process that runs the server
//! <data dir>/nats/nats-server.conf  the configuration, written at each start
//! <data dir>/nats/operator.nk       the operator's identity seed, 0600: may be moved elsewhere
//! <data dir>/nats/accounts/         the tokens of accounts, which the server keeps
//! <data dir>/nats/jetstream/        the streams
//! <data dir>/nats/url               where the server listens
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
use serde::Deserialize;
use tokio::sync::oneshot;

use super::error::{self, NatsError};
use super::keys::OperatorKeys;
use super::server_config::{ServerFiles, write};
use super::store::Store;
use super::version::is_safe;
use crate::Tenure;
use crate::clock::Stopwatch;

/// The address of a private server, unless another process has it.
pub const DEFAULT_LISTEN: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 4_222);

/// Names the program.
const BINARY_VARIABLE: &str = "NATS_SERVER_BIN";

/// How long a server may take until it accepts connections, and to stop.
const START_TIMEOUT: Duration = Duration::from_secs(20);
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
pub fn find_binary() -> Result<PathBuf, PrivateNatsError> {
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
        match version_of(&candidate) {
            Ok(version) if is_safe(&version) => return Ok(candidate),
            Ok(version) => skipped.push(format!("{} is {version}", candidate.display())),
            Err(reason) => skipped.push(format!("{}: {reason}", candidate.display())),
        }
    }
    Err(PrivateNatsError::NotFound { skipped })
}

fn version_of(program: &Path) -> Result<String, String> {
    let output = Command::new(program)
        .arg("--version")
        .stdin(Stdio::null())
        .output()
        .map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(&output.stdout);
    let version = text.split_whitespace().find_map(|word| word.strip_prefix('v'));
    version.map(str::to_owned).ok_or_else(|| "it does not tell its version".to_owned())
}

/// The directory of the server's files.
fn directory(data_dir: &Path) -> PathBuf {
    data_dir.join("nats")
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
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl PrivateNats {
    /// Starts the server of a data directory, with the operator of this log, which is made if there is none.
    ///
    /// # Errors
    /// [`PrivateNatsError`]
    pub async fn start(
        tenure: &Tenure,
        data_dir: &Path,
        listen: Option<SocketAddr>,
    ) -> Result<Self, PrivateNatsError> {
        let program = tokio::task::spawn_blocking(find_binary)
            .await
            .unwrap_or(Err(PrivateNatsError::NotFound { skipped: Vec::new() }))?;
        let dir = directory(data_dir);
        let lock = lock(&dir)?;
        let (keys, identity) = operator(tenure).await?;
        let listen = address(&dir, listen);
        let ports_dir = dir.join("ports");
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&ports_dir)
            .map_err(|error| PrivateNatsError::File { path: ports_dir.clone(), reason: error.to_string() })?;
        let files = ServerFiles { dir: dir.clone(), listen, ports_dir: Some(ports_dir) };
        files.write(&keys, identity.as_deref().map(String::as_str))?;
        let (started, first) = oneshot::channel();
        let stop = Arc::new(AtomicBool::new(false));
        let supervisor = Supervisor { program, files, stop: stop.clone(), _lock: lock };
        let thread = std::thread::Builder::new()
            .name("nats-server".to_owned())
            .spawn(move || supervisor.run(started))
            .map_err(|error| PrivateNatsError::File { path: dir.clone(), reason: error.to_string() })?;
        let mut server = Self { url: String::new(), stop, thread: Some(thread) };
        let not_started =
            |reason: String| PrivateNatsError::NotStarted { reason, log: dir.join("nats-server.log") };
        server.url =
            first.await.unwrap_or_else(|_| Err("its thread has ended".to_owned())).map_err(not_started)?;
        write(&dir.join("url"), &server.url)?;
        Ok(server)
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
fn lock(dir: &Path) -> Result<Flock<File>, PrivateNatsError> {
    let path = dir.join("lock");
    let failed = |reason: String| PrivateNatsError::File { path: path.clone(), reason };
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(|error| failed(error.to_string()))?;
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(|error| failed(error.to_string()))?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock)
        .map_err(|_| failed("another process runs the private NATS of this directory".to_owned()))
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
fn address(dir: &Path, listen: Option<SocketAddr>) -> String {
    if let Some(listen) = listen {
        // As nats-server reads "any free port".
        return if listen.port() == 0 { format!("{}:-1", listen.ip()) } else { listen.to_string() };
    }
    let last = fs::read_to_string(dir.join("url")).ok();
    let last = last.and_then(|url| url.trim().strip_prefix("nats://")?.parse::<SocketAddr>().ok());
    let free = |address: &SocketAddr| TcpListener::bind(address).is_ok();
    last.into_iter()
        .chain([DEFAULT_LISTEN])
        .find(free)
        .map_or_else(|| "127.0.0.1:-1".to_owned(), |address| address.to_string())
}

#[derive(Deserialize)]
struct Ports {
    #[serde(default)]
    nats: Vec<String>,
}

/// Starts the server, and starts it again when it ends.
struct Supervisor {
    program: PathBuf,
    files: ServerFiles,
    stop: Arc<AtomicBool>,
    _lock: Flock<File>,
}

impl Supervisor {
    fn run(mut self, started: oneshot::Sender<Result<String, String>>) {
        let mut started = Some(started);
        let mut pause = FIRST_PAUSE;
        while !self.stop.load(Ordering::SeqCst) {
            match self.launch() {
                Ok((child, url)) => {
                    // The same port again if it has to be started again: clients know it.
                    url.trim_start_matches("nats://").clone_into(&mut self.files.listen);
                    if let Some(started) = started.take()
                        && started.send(Ok(url)).is_err()
                    {
                        self.stop.store(true, Ordering::SeqCst);
                    }
                    let lived = Stopwatch::start();
                    self.wait(child);
                    if lived.elapsed() > LONGEST_PAUSE {
                        pause = FIRST_PAUSE;
                    }
                }
                Err(reason) => {
                    if let Some(started) = started.take() {
                        let _ = started.send(Err(reason));
                        return;
                    }
                    tracing::warn!(reason, "nats-server cannot be started again");
                }
            }
            if self.stop.load(Ordering::SeqCst) {
                return;
            }
            tracing::warn!("nats-server has ended; starting it again");
            std::thread::sleep(pause);
            pause = (pause * 2).min(LONGEST_PAUSE);
            if let Err(error) = self.rewrite() {
                tracing::warn!(%error, "the configuration of nats-server cannot be written");
            }
        }
    }

    /// Puts the port that was found into the configuration.
    fn rewrite(&self) -> Result<(), NatsError> {
        let path = self.files.config();
        let text = fs::read_to_string(&path).unwrap_or_default();
        let lines = text.lines().map(|line| {
            if line.starts_with("listen:") {
                format!("listen: {}\n", self.files.listen)
            } else {
                format!("{line}\n")
            }
        });
        write(&path, &lines.collect::<String>())
    }

    /// Starts the process, and waits until it accepts connections.
    fn launch(&self) -> Result<(Child, String), String> {
        let log = self.files.dir.join("nats-server.log");
        let log = OpenOptions::new().create(true).append(true).mode(0o600).open(&log);
        let log = log.map_err(|error| error.to_string())?;
        let spawn = |with_setpriv: bool| -> std::io::Result<Child> {
            let mut command = if with_setpriv {
                // It ends with this thread, also if this process is killed.
                let mut command = Command::new("setpriv");
                command.args(["--pdeathsig", "TERM", "--"]).arg(&self.program);
                command
            } else {
                Command::new(&self.program)
            };
            let path = std::env::var_os("PATH").unwrap_or_default();
            command.env_clear().env("PATH", path).arg("-c").arg(self.files.config());
            command.process_group(0).stdin(Stdio::null());
            command.stdout(log.try_clone()?).stderr(log.try_clone()?);
            command.spawn()
        };
        let mut child = spawn(true).or_else(|_| spawn(false)).map_err(|error| error.to_string())?;
        let waited = Stopwatch::start();
        loop {
            if let Ok(Some(status)) = child.try_wait() {
                return Err(format!("it ended with {status}"));
            }
            if let Some(url) = self.listening(child.id()) {
                return Ok((child, url));
            }
            if waited.elapsed() > START_TIMEOUT || self.stop.load(Ordering::SeqCst) {
                end(&mut child);
                return Err("it does not accept connections".to_owned());
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// Where the process listens, once it accepts connections.
    fn listening(&self, pid: u32) -> Option<String> {
        let ports = self.files.ports_dir.as_ref()?.join(format!("nats-server_{pid}.ports"));
        let ports: Ports = serde_json::from_str(&fs::read_to_string(ports).ok()?).ok()?;
        let url = ports.nats.into_iter().next()?;
        let address: SocketAddr = url.strip_prefix("nats://")?.parse().ok()?;
        TcpStream::connect_timeout(&address, Duration::from_secs(1)).ok()?;
        Some(url)
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
