//! NATS servers of a test, and nodes that use them.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use async_nats::{Client, ConnectErrorKind, ConnectOptions};
use serde_json::{Value, json};
use tenure::Tenure;
use tenure::ids::{AccountId, UserId};
use tenure::nats::private::PrivateNats;
use tenure::nats::{Nats, NatsSettings, ServerFiles};

use super::TestDatabase;
use super::server::free_port;
use crate::http::{Server, answer};

/// How long something may take that happens in the background.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// The program that `make test` installs.
pub async fn binary() -> PathBuf {
    tenure::nats::private::find_binary().await.expect("nats-server: `make test` installs it")
}

/// A node with its HTTP interface, on a NATS server that others may share.
pub struct Node {
    pub server: Server,
    pub nats: Nats,
}

impl Node {
    pub async fn on(tenure: Tenure, url: &str, change: impl FnOnce(&mut NatsSettings)) -> Self {
        let mut settings = NatsSettings::new(url);
        change(&mut settings);
        let nats = Nats::start(tenure.clone(), settings);
        let plenty = tenure::http::Rate { burst: 10_000_000, per_second: 1_000_000 };
        let server = Server::with_nats(Arc::new(tenure), Some(nats.clone()), |settings| {
            settings.rates.anonymous = plenty;
            settings.rates.credential = plenty;
            settings.rates.commands = plenty;
            settings.rates.tenant = plenty;
        })
        .await;
        Self { server, nats }
    }

    /// Exchanges a credential; expects this status.
    pub async fn exchange(&self, credential: &str, status: u16) -> Value {
        let body = json!({"api_key": credential});
        answer(self.server.post("/api/v1/auth/exchange", body)).await.is(status).json()
    }

    /// A client with an exchanged credential.
    pub async fn client(&self, credential: &str) -> Client {
        let exchanged = self.exchange(credential, 200).await;
        connect(&exchanged).await.expect("a connection")
    }

    /// Waits until this holds of the state of NATS.
    pub async fn until(&self, what: &str, holds: impl Fn(&tenure::nats::Status) -> bool) {
        let mut last = String::new();
        let waiting = async {
            loop {
                let status = self.nats.status().await.expect("a status");
                last = format!("{status:?}");
                if holds(&status) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let waited = tokio::time::timeout(PATIENCE, waiting).await;
        waited.unwrap_or_else(|_| panic!("never {what}: {last}"));
    }

    /// Waits until every stream is there.
    pub async fn until_converged(&self, streams: usize) {
        self.until(&format!("{streams} streams"), |status| {
            status.usable
                && status.streams == streams
                && status.drift.is_empty()
                && status.orphans.is_empty()
                && status.accounts_missing == 0
        })
        .await;
    }
}

/// One node on a private NATS.
pub struct Tenancy {
    pub database: TestDatabase,
    pub private: PrivateNats,
    pub node: Node,
    dir: tempfile::TempDir,
}

impl Tenancy {
    pub async fn new() -> Self {
        Self::with(|_| {}).await
    }

    pub async fn with(change: impl FnOnce(&mut NatsSettings)) -> Self {
        let database = TestDatabase::new().await;
        let tenure = database.open().await;
        let dir = tempfile::tempdir().unwrap();
        let private = private(&tenure, dir.path()).await;
        let node = Node::on(tenure, private.url(), change).await;
        Self { database, private, node, dir }
    }

    /// The data directory of its NATS.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Another node on the same database and the same NATS.
    pub async fn second(&self, change: impl FnOnce(&mut NatsSettings)) -> Node {
        Node::on(self.database.open().await, self.private.url(), change).await
    }

    /// An account with its owner, and a key.
    pub async fn tenant(&self, name: &str) -> (AccountId, UserId, String) {
        let owner = self.node.server.user(&format!("{name}-owner")).await;
        let account = self.node.server.account(name, owner).await;
        let key = self.node.server.key(account, owner).await.1;
        (account, owner, key)
    }
}

/// A server with a configuration of its own.
pub struct RawServer {
    pub url: String,
    pub dir: PathBuf,
    program: PathBuf,
    child: Option<Child>,
}

impl RawServer {
    /// Writes the configuration that `tenure nats bootstrap` writes, with more text, and starts a server with it.
    pub async fn start(tenure: &Tenure, dir: &Path, more: &str) -> Self {
        let mut server = Self::configure(tenure, dir, more).await;
        server.run();
        server
    }

    pub async fn configure(tenure: &Tenure, dir: &Path, more: &str) -> Self {
        let listen = format!("127.0.0.1:{}", free_port());
        let files = ServerFiles { dir: dir.to_owned(), listen: listen.clone(), is_alone: false };
        tenure::nats::bootstrap(tenure, &files, false).await.expect("a configuration");
        let mut server = Self {
            url: format!("nats://{listen}"),
            dir: dir.to_owned(),
            program: binary().await,
            child: None,
        };
        server.change(|text| format!("{text}{more}"));
        server
    }

    /// Changes the configuration.
    pub fn change(&mut self, change: impl FnOnce(String) -> String) {
        let path = self.dir.join("nats-server.conf");
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, change(text)).unwrap();
    }

    pub fn run(&mut self) {
        let log = std::fs::File::options().create(true).append(true).open(self.dir.join("log")).unwrap();
        let child = Command::new(&self.program)
            .arg("-c")
            .arg(self.dir.join("nats-server.conf"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("nats-server");
        self.child = Some(child);
    }

    /// Kills it with SIGKILL.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Ends it as its operator would.
    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let pid = nix::unistd::Pid::from_raw(child.id() as i32);
            nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
            child.wait().unwrap();
        }
    }

    pub fn signal(&self, signal: nix::sys::signal::Signal) {
        let pid = self.child.as_ref().expect("a server").id();
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid as i32), signal).unwrap();
    }
}

impl Drop for RawServer {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A private server on a free port.
pub async fn private(tenure: &Tenure, data_dir: &Path) -> PrivateNats {
    let any = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    PrivateNats::start(tenure, data_dir, Some(any)).await.expect("a private NATS")
}

/// Connects as what an exchange answered, once.
pub async fn connect(exchanged: &Value) -> Result<Client, async_nats::ConnectError> {
    let text =
        |name: &str| exchanged[name].as_str().unwrap_or_else(|| panic!("{name}: {exchanged}")).to_owned();
    let (token, seed) = (text("nats_user_jwt"), text("nats_user_seed"));
    let user = Arc::new(nkeys::KeyPair::from_seed(&seed).unwrap());
    let options = ConnectOptions::with_jwt(token, move |nonce| {
        let user = user.clone();
        async move { user.sign(&nonce).map_err(async_nats::AuthError::new) }
    });
    let servers: Vec<async_nats::ServerAddr> =
        text("nats_url").split(',').map(|url| url.parse().unwrap()).collect();
    options.max_reconnects(Some(1)).request_timeout(Some(Duration::from_secs(2))).connect(servers).await
}

/// Whether a client is cut off within this time, and stays out.
pub async fn is_cut_off(client: &Client, exchanged: &Value, within: Duration) -> bool {
    let cut = async {
        while client.connection_state() == async_nats::connection::State::Connected {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    if tokio::time::timeout(within, cut).await.is_err() {
        return false;
    }
    // Each server by itself: of several, the client says only what the last one that it tried has said.
    let mut refusals = 0;
    for url in exchanged["nats_url"].as_str().unwrap().split(',') {
        let mut only = exchanged.clone();
        only["nats_url"] = url.into();
        match connect(&only).await {
            Ok(_) => return false,
            Err(error) => {
                refusals += usize::from(error.kind() == ConnectErrorKind::AuthorizationViolation);
            }
        }
    }
    refusals > 0
}
