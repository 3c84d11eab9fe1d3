//! How to use NATS.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use uuid::Uuid;

use super::relay::RelaySettings;

/// Called at one point, to hold a node there.
pub type Pause = Arc<dyn Fn() -> BoxFuture<'static, ()> + Send + Sync>;

/// Where tests hold a node.
#[derive(Clone, Default)]
pub struct Pauses {
    /// Between storing a user that is about to be issued and checking its credential.
    pub before_check: Option<Pause>,
    /// Between reading what an account's token has to say and giving it to the servers.
    pub before_push: Option<Pause>,
    /// Whether this node gives a token, and relays, although its lease is over, as one that is suspended after it has looked.
    pub outlives_leases: bool,
}

impl Pauses {
    pub(super) async fn at(pause: Option<&Pause>) {
        if let Some(pause) = pause {
            pause().await;
        }
    }
}

/// How to use NATS.
#[derive(Clone)]
pub struct NatsSettings {
    /// The servers, separated by commas.
    pub url: String,
    /// The URL that clients are told.
    pub public_url: String,
    /// How long the credential of a user is valid.
    pub user_ttl: Duration,
    /// How many servers keep each stream.
    pub replicas: usize,
    /// The most streams of an account.
    pub streams_per_account: i64,
    /// The data directory of the private server that this node runs, if it does.
    pub private: Option<Uuid>,
    /// How the events of the log are relayed.
    pub relay: RelaySettings,
    /// Where tests hold this node.
    pub pauses: Pauses,
}

impl NatsSettings {
    /// The default life of a user's credential, and its bounds.
    pub const USER_TTL: Duration = Duration::from_mins(5);
    /// The shortest life of a user's credential.
    pub const MIN_USER_TTL: Duration = Duration::from_secs(5);

    /// The defaults for these servers.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        let url = url.into();
        Self {
            public_url: url.clone(),
            url,
            user_ttl: Self::USER_TTL,
            replicas: 1,
            streams_per_account: 10_000,
            private: None,
            relay: RelaySettings::default(),
            pauses: Pauses::default(),
        }
    }
}
