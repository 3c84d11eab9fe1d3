//! The private NATS: started, shared, restarted and stopped with the serving process.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::support::TestDatabase;
use crate::support::nats::PATIENCE;
use crate::support::process::tenure;
use crate::support::server::free_port;

/// A serving process, and what it said when it served.
struct Serving {
    child: Child,
    said: Value,
}

impl Serving {
    /// Each test has a port of its own: a server of another one would take the usual one as soon as it is free.
    fn start(database: &TestDatabase, data_dir: &Path, port: u16) -> Self {
        let mut command = tenure();
        command
            .args([
                "serve",
                "--json",
                "--listen",
                "127.0.0.1:0",
                "--metrics-listen",
                "127.0.0.1:0",
                "--data-dir",
            ])
            .arg(data_dir)
            .args(["--nats-listen", &format!("127.0.0.1:{port}")])
            .env("DATABASE_URL", database.url())
            .env("TENURE_MASTER_KEY_FILE", crate::support::master_key().default_file)
            .env_remove("TENURE_NO_NATS")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { child, said: serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}")) }
    }

    fn nats(&self) -> &str {
        self.said["nats"].as_str().unwrap()
    }

    /// The address in what it says of NATS.
    fn url(&self) -> &str {
        &self.nats()[self.nats().find("nats://").unwrap_or_else(|| panic!("{}", self.nats()))..]
    }

    fn end(&mut self, signal: Signal) -> Option<i32> {
        kill(Pid::from_raw(self.child.id() as i32), signal).unwrap();
        self.child.wait().unwrap().code()
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn accepts(url: &str) -> bool {
    tokio::net::TcpStream::connect(url.trim_start_matches("nats://")).await.is_ok()
}

async fn until(what: &str, holds: impl AsyncFn() -> bool) {
    let waiting = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("never {what}"));
}

/// The processes of nats-server with the configuration of this directory.
fn servers(data_dir: &Path) -> Vec<i32> {
    let config = data_dir.join("nats/nats-server.conf");
    let config = config.to_str().unwrap();
    std::fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|entry| {
            let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
            let command = std::fs::read_to_string(entry.path().join("cmdline")).ok()?;
            (command.contains(config) && !command.contains("setpriv")).then_some(pid)
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_nats_starts_with_serving_is_started_again_and_ends_with_it() {
    let (database, dir) = (TestDatabase::new().await, tempfile::tempdir().unwrap());
    let port = free_port();
    let mut serving = Serving::start(&database, dir.path(), port);
    let url = serving.url().to_owned();
    assert!(serving.nats().starts_with("private: ") && accepts(&url).await, "{}", serving.nats());
    let operator = std::fs::metadata(dir.path().join("nats/operator.nk")).unwrap();
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&operator.permissions()) & 0o777, 0o600);
    // Killed, it comes back at the same address.
    let [first] = servers(dir.path())[..] else { panic!("one server") };
    kill(Pid::from_raw(first), Signal::SIGKILL).unwrap();
    until("started again", async || {
        let now = servers(dir.path());
        now.len() == 1 && now != [first] && accepts(&url).await
    })
    .await;
    assert_eq!(serving.end(Signal::SIGTERM), Some(0));
    assert!(servers(dir.path()).is_empty() && !accepts(&url).await, "it is gone when the process is");
    // The next start is at the same address, with the same operator and no new identity seed.
    let seed = std::fs::read_to_string(dir.path().join("nats/operator.nk")).unwrap();
    std::fs::remove_file(dir.path().join("nats/operator.nk")).unwrap();
    let mut again = Serving::start(&database, dir.path(), port);
    assert_eq!(again.url(), url);
    assert!(!dir.path().join("nats/operator.nk").exists(), "{} letters stay where they are", seed.len());
    // Killed with its process, it does not stay behind.
    again.end(Signal::SIGKILL);
    until("ended with its process", async || servers(dir.path()).is_empty()).await;
    let mut last = Serving::start(&database, dir.path(), port);
    assert!(last.nats().starts_with("private: nats://"), "{}", last.nats());
    assert_eq!(last.end(Signal::SIGTERM), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_of_one_database_share_one_private_nats() {
    let database = TestDatabase::new().await;
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let first = Serving::start(&database, one.path(), free_port());
    let second = Serving::start(&database, two.path(), free_port());
    assert_eq!(second.url(), first.url(), "a second server would have other messages");
    assert!(second.nats().contains("another node"), "{}", second.nats());
    assert!(servers(two.path()).is_empty());
}
