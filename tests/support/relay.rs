//! What the relay has published, as a stock client reads it.

use std::path::Path;
use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use async_nats::jetstream::{self, Message};
use async_nats::{Client, ConnectOptions};
use futures::StreamExt as _;
use tenure::Tenure;
use tenure::event_log::{FromLog as _, RecordedEvent};
use tenure::nats::{
    IssuedPlatformUser, NatsSettings, NewPlatformUser, PlatformRights, RelayFrom, RelayStatus,
    issue_platform_user, relay_stream_name,
};

use super::nats::{Node, PATIENCE, RawServer};
use super::{TestDatabase, operator};

/// A log and a server of its own, without a node.
pub struct Relayed {
    pub database: TestDatabase,
    pub tenure: Tenure,
    pub server: RawServer,
    pub dir: tempfile::TempDir,
}

impl Relayed {
    pub async fn new() -> Self {
        let database = TestDatabase::new().await;
        let tenure = database.open().await;
        let dir = tempfile::tempdir().unwrap();
        let server = RawServer::start(&tenure, dir.path(), "").await;
        Self { database, tenure, server, dir }
    }

    /// A node with an engine of its own, that relays from here if there is no stream yet.
    pub async fn node(&self, from: Option<RelayFrom>) -> Node {
        self.node_with(|settings| settings.relay.from = from).await
    }

    pub async fn node_with(&self, change: impl FnOnce(&mut NatsSettings)) -> Node {
        Node::on(self.database.open().await, &self.server.url, change).await
    }

    /// Stores events of users, as many as there are names.
    pub async fn write(&self, names: std::ops::Range<usize>) {
        write(&self.tenure, names).await;
    }

    /// The newest position.
    pub async fn head(&self) -> i64 {
        let row = self.tenure.log().primary().query("select 1", &[]).await.unwrap();
        row.position
    }

    pub fn epoch(&self) -> i64 {
        self.tenure.log().seen().get().epoch
    }

    pub fn stream(&self) -> String {
        relay_stream_name(self.epoch())
    }

    pub async fn reader(&self) -> Client {
        reader(&self.tenure, &self.server.url, PlatformRights::Subscribe).await
    }

    pub async fn manager(&self) -> jetstream::Context {
        jetstream::new(reader(&self.tenure, &self.server.url, PlatformRights::Manage).await)
    }

    /// Waits until the whole log is relayed, and finds every position from this one on once, in order, at its own sequence.
    pub async fn check(&self, node: &Node, first: i64) {
        let head = self.head().await;
        until(node, "all relayed", |relay| relay.tail >= Some(head)).await;
        check(&self.tenure, &self.server.url, &self.stream(), first).await;
    }
}

/// Waits until this holds of the relay.
pub async fn until(node: &Node, what: &str, holds: impl Fn(&RelayStatus) -> bool) -> RelayStatus {
    let found = std::sync::Mutex::new(RelayStatus::default());
    let noting = |status: &tenure::nats::Status| {
        *found.lock().unwrap() = status.relay.clone();
        holds(&status.relay)
    };
    node.until(what, noting).await;
    found.into_inner().unwrap()
}

/// Issues a credential.
pub async fn issue(tenure: &Tenure, rights: PlatformRights) -> IssuedPlatformUser {
    let (name, by, ttl) = ("test".to_owned(), "test".to_owned(), Duration::from_hours(1));
    issue_platform_user(tenure, &NewPlatformUser { name, rights, ttl, by }).await.unwrap()
}

/// Connects with a credential, once the servers know the account.
pub async fn connect(issued: &IssuedPlatformUser, url: &str) -> Client {
    let connecting = async {
        loop {
            let options = ConnectOptions::with_credentials(&issued.credentials).unwrap();
            let servers: Vec<async_nats::ServerAddr> =
                url.split(',').map(|url| url.parse().unwrap()).collect();
            if let Ok(client) = options.connect(servers).await {
                return client;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, connecting).await.expect("a connection to the platform's account")
}

/// Stores events of users, as many as there are names.
pub async fn write(tenure: &Tenure, names: std::ops::Range<usize>) {
    let writing = names.map(|number| async move {
        let (name, email) = (format!("user{number}"), format!("user{number}@example.org"));
        tenure.insert_user(&operator(), &name, &email, "internal").await.unwrap();
    });
    futures::stream::iter(writing).buffer_unordered(64).collect::<()>().await;
}

/// A client of the platform's account.
pub async fn reader(tenure: &Tenure, url: &str, rights: PlatformRights) -> Client {
    connect(&issue(tenure, rights).await, url).await
}

/// Finds every position from `first` on, up to the newest, once, in order, at its own sequence, and as the log has it.
pub async fn check(tenure: &Tenure, url: &str, stream: &str, first: i64) {
    let context = jetstream::new(reader(tenure, url, PlatformRights::Subscribe).await);
    let stream = context.get_stream(stream).await.unwrap();
    let state = stream.cached_info().state.clone();
    assert_eq!(state.first_sequence, first.unsigned_abs());
    let expected = state.last_sequence + 1 - first.unsigned_abs();
    assert_eq!(state.messages, expected, "every sequence has a message");
    let config = pull::Config {
        ack_policy: AckPolicy::None,
        deliver_policy: DeliverPolicy::All,
        ..pull::Config::default()
    };
    let consumer = stream.create_consumer(config).await.unwrap();
    let mut messages = consumer.stream().max_messages_per_batch(2_000).messages().await.unwrap();
    let mut follower = tenure.log().follow(first - 1);
    let mut position = first - 1;
    let last = i64::try_from(state.last_sequence).unwrap();
    while position < last {
        for event in follower.next().await.unwrap() {
            if position == last {
                break;
            }
            let message = tokio::time::timeout(PATIENCE, messages.next()).await;
            let message = message.expect("a message").expect("a message").unwrap();
            position += 1;
            is_of(&message, &event, position);
        }
    }
}

fn is_of(message: &Message, event: &RecordedEvent, position: i64) {
    let info = message.info().unwrap();
    assert_eq!(info.stream_sequence, position.unsigned_abs());
    assert_eq!(event.position, position);
    let header = |name: &str| {
        let headers = message.headers.as_ref().expect("headers");
        headers.get(name).map(ToString::to_string).unwrap_or_default()
    };
    assert_eq!(header("ce-position"), position.to_string());
    assert_eq!(header("ce-id"), event.id().to_string());
    assert_eq!(header("ce-type"), event.event_type);
    let is_own = tenure::aggregates::STREAM_TYPES.contains(&&*event.stream.stream_type);
    assert!(message.payload == event.payload || !is_own && message.payload.is_empty(), "{position}");
}

/// Every file below a directory, as it is.
pub fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().flatten() {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// The files with the messages of a stream, oldest first, and the file with its state.
pub fn blocks(dir: &Path, stream: &str) -> (Vec<std::path::PathBuf>, Option<std::path::PathBuf>) {
    let mut found = Vec::new();
    let mut directories = vec![dir.join("jetstream")];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(&directory).unwrap().flatten() {
            if entry.file_type().unwrap().is_dir() {
                directories.push(entry.path());
            } else {
                found.push(entry.path());
            }
        }
    }
    found.retain(|path| path.to_string_lossy().contains(&format!("/{stream}/msgs/")));
    let index = found.iter().find(|path| path.ends_with("index.db")).cloned();
    found.retain(|path| path.extension().is_some_and(|extension| extension == "blk"));
    let number = |path: &Path| path.file_stem().unwrap().to_string_lossy().parse::<u64>().unwrap();
    found.sort_by_key(|path| number(path));
    (found, index)
}
