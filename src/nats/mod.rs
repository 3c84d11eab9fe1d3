//! NATS: tenants' accounts there, credentials for their users, and pipes as streams.
//!
//! ```text
//! operator ── signs ──► account of a tenant ── its signing key signs ──► user of a tenant, for minutes
//!    │ keys.rs             │ publisher.rs                                     │ exchange.rs
//!    │                     │ token on every server, with the revoked users    │ row first, then the check, then the token
//!    └ log.key_ring        └ streams.rs: one stream for each pipe             └ coarse.nats_user
//! ```
//!
//! The log says what should be there. [`reconcile`] makes it so, on the node that holds the lease, and revokes on every node.
//! A failure at NATS never undoes or delays a command.

mod bootstrap;
mod claims;
mod error;
mod exchange;
mod keys;
mod pipes;
pub mod private;
mod publisher;
mod reconcile;
mod rights;
mod server_config;
mod status;
mod store;
pub mod streams;
mod system;
mod version;

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::sync::{broadcast, watch};
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

pub use bootstrap::{Bootstrapped, bootstrap};
pub use error::NatsError;
pub use exchange::Exchanged;
pub use keys::OperatorKeys;
pub use pipes::{PipeState, PipeStates};
pub use server_config::ServerFiles;
pub use status::Status;
pub use store::IssuedFor;
pub use version::is_safe;

use keys::OperatorKey;
use store::Store;
use system::{Server, System};

use crate::Tenure;
use crate::engine::Observed;
use crate::ids::AccountId;

/// The state before the first connection.
const NOT_YET: &str = "not connected yet";

/// How long a request waits for a connection that is being made.
const READY_TIMEOUT: Duration = Duration::from_millis(900);

/// Called at one point, to hold a node there.
pub type Pause = Arc<dyn Fn() -> BoxFuture<'static, ()> + Send + Sync>;

/// Where tests hold a node.
#[derive(Clone, Default)]
pub struct Pauses {
    /// Between storing a user that is about to be issued and checking its credential.
    pub before_check: Option<Pause>,
    /// Between reading what an account's token has to say and giving it to the servers.
    pub before_push: Option<Pause>,
}

impl Pauses {
    async fn at(pause: Option<&Pause>) {
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
            pauses: Pauses::default(),
        }
    }
}

/// What is known of the servers, while they can be used.
#[derive(Clone)]
pub(crate) struct Ready {
    system: System,
    servers: Arc<BTreeSet<Server>>,
    operator: Arc<OperatorKey>,
    /// The number of the connection; another one may lead to other servers.
    generation: u64,
}

impl std::fmt::Debug for Ready {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ready").field("servers", &self.servers).finish_non_exhaustive()
    }
}

/// NATS, as one node uses it. Clones are handles to the same.
#[derive(Clone)]
pub struct Nats {
    parts: Arc<Parts>,
    /// Stops the background tasks with the last handle; they hold `None` themselves.
    _running: Option<Arc<DropGuard>>,
}

struct Parts {
    tenure: Tenure,
    store: Store,
    settings: NatsSettings,
    /// What can be used, or why nothing can.
    ready: watch::Sender<Result<Ready, String>>,
    /// One change at a time of each account, within this node.
    locks: Mutex<HashMap<AccountId, Weak<tokio::sync::Mutex<()>>>>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Nats {
    /// Begins to use NATS for this engine, and to keep it in step with the log. Connecting goes on in the background, for ever.
    #[must_use]
    pub fn start(tenure: Tenure, settings: NatsSettings) -> Self {
        // Before the first look at the accounts: what happens after that is seen as an event.
        let observed = tenure.observe();
        Self::begin(tenure, settings, Some(observed))
    }

    /// Connects, to look alone: nothing is changed.
    #[must_use]
    pub fn look(tenure: Tenure, settings: NatsSettings) -> Self {
        Self::begin(tenure, settings, None)
    }

    fn begin(
        tenure: Tenure,
        settings: NatsSettings,
        observed: Option<broadcast::Receiver<Observed>>,
    ) -> Self {
        let stop = CancellationToken::new();
        let running = Some(Arc::new(stop.clone().drop_guard()));
        let parts = Parts {
            store: Store::new(tenure.clone()),
            tenure,
            settings,
            ready: watch::Sender::new(Err(NatsError::Disconnected(NOT_YET.to_owned()).to_string())),
            locks: Mutex::default(),
            stop: stop.clone(),
            tasks: TaskTracker::new(),
        };
        let nats = Self { parts: Arc::new(parts), _running: running };
        let within = Self { parts: nats.parts.clone(), _running: None };
        nats.parts.tasks.spawn(async move {
            stop.run_until_cancelled(Box::pin(within.run(observed))).await;
        });
        nats
    }

    /// Stops the background tasks, and gives the leases of this node back.
    pub async fn close(&self) {
        self.parts.stop.cancel();
        self.parts.tasks.close();
        self.parts.tasks.wait().await;
        let leaving = self.parts.store.stop_reconciling(self.parts.tenure.node());
        let _ = timeout(Duration::from_millis(500), leaving).await;
    }

    /// The settings in force.
    #[must_use]
    pub fn settings(&self) -> &NatsSettings {
        &self.parts.settings
    }

    /// Waits until the servers can be used, a moment at most.
    ///
    /// # Errors
    /// [`NatsError::Disconnected`] with the reason why not.
    async fn ready(&self) -> Result<Ready, NatsError> {
        let mut ready = self.parts.ready.subscribe();
        let waited = timeout(READY_TIMEOUT, ready.wait_for(Result::is_ok)).await;
        if let Ok(Ok(ready)) = waited.as_ref().map(|ready| ready.as_deref())
            && let Ok(ready) = ready
        {
            return Ok(ready.clone());
        }
        drop(waited);
        self.ready_now()
    }

    fn ready_now(&self) -> Result<Ready, NatsError> {
        self.parts.ready.borrow().clone().map_err(NatsError::Disconnected)
    }

    /// The lock on changes of an account within this node.
    fn lock_of(&self, account: AccountId) -> Arc<tokio::sync::Mutex<()>> {
        let mut locks = self.parts.locks.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lock) = locks.get(&account).and_then(Weak::upgrade) {
            return lock;
        }
        locks.retain(|_, lock| lock.strong_count() > 0);
        let lock = Arc::new(tokio::sync::Mutex::new(()));
        locks.insert(account, Arc::downgrade(&lock));
        lock
    }

    fn now(&self) -> i64 {
        rights::now(&*self.parts.tenure.clock())
    }
}

impl std::fmt::Debug for Nats {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Nats").field("url", &self.parts.settings.public_url).finish_non_exhaustive()
    }
}
