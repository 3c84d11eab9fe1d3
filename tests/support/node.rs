//! Serving processes of a test: nodes of a release on one database.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use reqwest::Client;
use serde_json::Value;
use tenure::clock::Stopwatch;

use super::process::isolated;
use super::server::free_port;
use super::{TestDatabase, master_key};

const PATIENCE: Duration = Duration::from_secs(120);

/// A release, with the database that it works on.
pub struct Release<'a> {
    binary: PathBuf,
    database: &'a TestDatabase,
    settings: tempfile::NamedTempFile,
}

impl<'a> Release<'a> {
    pub fn new(binary: impl Into<PathBuf>, database: &'a TestDatabase) -> Self {
        let settings = tempfile::NamedTempFile::new().unwrap();
        let limits = ["anonymous", "credential", "commands", "tenant"]
            .map(|limit| format!("{limit} = {{ burst = 1000000, per_second = 1000000 }}\n"));
        std::fs::write(settings.path(), format!("[limits]\n{}", limits.concat())).unwrap();
        Self { binary: binary.into(), database, settings }
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = isolated(self.binary.to_str().unwrap());
        command
            .args(arguments)
            .env("DATABASE_URL", self.database.url())
            .env("TENURE_MASTER_KEY_FILE", master_key().default_file)
            .env("TENURE_CONFIG", self.settings.path())
            .env("TENURE_LOG", "warn")
            .stdin(Stdio::null());
        command
    }

    /// The exit code of a command, the last line that it printed, and its errors.
    pub fn run(&self, arguments: &[&str]) -> (Option<i32>, Value, String) {
        let output = self.command(arguments).output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        let last = said.lines().last().and_then(|line| serde_json::from_str(line).ok()).unwrap_or_default();
        (output.status.code(), last, String::from_utf8(output.stderr).unwrap())
    }

    pub fn serve(&self, listen: SocketAddr) -> Node {
        self.serve_with(listen, &[])
    }

    pub fn serve_with(&self, listen: SocketAddr, environment: &[(&str, &str)]) -> Node {
        let mut command = self.command(&["serve", "--metrics-listen", "127.0.0.1:0"]);
        command.envs(environment.iter().copied());
        let said = tempfile::NamedTempFile::new().unwrap();
        let child = command
            .args(["--listen", &listen.to_string()])
            .stdout(Stdio::null())
            .stderr(said.reopen().unwrap())
            .spawn()
            .unwrap();
        Node { child, base: format!("http://{listen}"), said }
    }
}

/// A serving process.
pub struct Node {
    pub child: Child,
    pub base: String,
    /// What it writes to standard error.
    said: tempfile::NamedTempFile,
}

impl Node {
    pub async fn is_ready(&self, client: &Client) -> bool {
        let asked = client.get(format!("{}/readyz", self.base)).send().await;
        asked.is_ok_and(|answer| answer.status() == 200)
    }

    pub async fn until_ready(&self, client: &Client) {
        let waited = Stopwatch::start();
        while !self.is_ready(client).await {
            let said = || std::fs::read_to_string(self.said.path()).unwrap_or_default();
            assert!(waited.elapsed() < PATIENCE, "{} is never ready: {}", self.base, said());
            tokio::task::yield_now().await;
        }
    }

    /// Waits until it has written a line with this text to standard error.
    pub async fn until_said(&self, text: &str) {
        let waited = Stopwatch::start();
        loop {
            let said = std::fs::read_to_string(self.said.path()).unwrap_or_default();
            if said.contains(text) {
                return;
            }
            assert!(waited.elapsed() < PATIENCE, "never said {text}: {said}");
            tokio::task::yield_now().await;
        }
    }

    pub fn end(&mut self) {
        kill(Pid::from_raw(self.child.id() as i32), Signal::SIGTERM).unwrap();
        assert_eq!(self.child.wait().unwrap().code(), Some(0));
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An address that a node can be started on again.
pub fn address() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], free_port()))
}

pub fn client() -> Client {
    tenure::http::tls_provider::install_crypto_provider();
    Client::builder().timeout(Duration::from_secs(15)).build().unwrap()
}
