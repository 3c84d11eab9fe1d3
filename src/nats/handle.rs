//! NATS as one node uses it: the handle, and what is known of the servers.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{broadcast, watch};
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::error::NatsError;
use super::keys::OperatorKey;
use super::rights;
use super::settings::NatsSettings;
use super::store::{Part, Store};
use super::streams::Last;
use super::system::{NOT_YET, Server, System};
use crate::Tenure;
use crate::engine::Observed;
use crate::ids::AccountId;

/// How long a request waits for a connection that is being made.
const READY_TIMEOUT: Duration = Duration::from_millis(900);

/// The locks in use.
type Locks = HashMap<(AccountId, Part), Weak<tokio::sync::Mutex<Last>>>;

/// What is known of the servers, while they can be used.
#[derive(Clone)]
pub(super) struct Ready {
    pub(super) system: System,
    pub(super) servers: Arc<BTreeSet<Server>>,
    pub(super) operator: Arc<OperatorKey>,
    /// The number of the connection; another one may lead to other servers.
    pub(super) generation: u64,
}

impl std::fmt::Debug for Ready {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ready").field("servers", &self.servers).finish_non_exhaustive()
    }
}

/// NATS, as one node uses it. Clones are handles to the same.
#[derive(Clone)]
pub struct Nats {
    pub(super) parts: Arc<Parts>,
    /// Stops the background tasks with the last handle; they hold `None` themselves.
    pub(super) _running: Option<Arc<DropGuard>>,
}

pub(super) struct Parts {
    pub(super) tenure: Tenure,
    pub(super) store: Store,
    pub(super) settings: NatsSettings,
    /// What can be used, or why nothing can.
    pub(super) ready: watch::Sender<Result<Ready, String>>,
    /// One change at a time of each part of an account, within this node.
    locks: Mutex<Locks>,
    /// The accounts that the servers of a connection were seen to know.
    confirmed: Mutex<(u64, HashSet<AccountId>)>,
    /// Whether this node changes anything at NATS.
    pub(super) is_looking: bool,
    pub(super) stop: CancellationToken,
    pub(super) tasks: TaskTracker,
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
            confirmed: Mutex::default(),
            is_looking: observed.is_none(),
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
        let leaving = self.parts.store.release_all(self.parts.tenure.node());
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
    pub(super) async fn ready(&self) -> Result<Ready, NatsError> {
        let mut ready = self.parts.ready.subscribe();
        // Without one in time, the reason is in the state.
        let _ = timeout(READY_TIMEOUT, ready.wait_for(Result::is_ok)).await;
        self.ready_now()
    }

    pub(super) fn ready_now(&self) -> Result<Ready, NatsError> {
        let ready = self.parts.ready.borrow().clone().map_err(NatsError::NotUsable)?;
        // The connection may have been lost, and made to other servers, a moment ago.
        if ready.system.generation()? == ready.generation {
            Ok(ready)
        } else {
            Err(NatsError::NotUsable("the servers are being looked at again".to_owned()))
        }
    }

    /// The lock on changes of a part of an account within this node, and what the last one came to.
    pub(super) fn lock_of(&self, account: AccountId, part: Part) -> Arc<tokio::sync::Mutex<Last>> {
        let mut locks = self.parts.locks.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lock) = locks.get(&(account, part)).and_then(Weak::upgrade) {
            return lock;
        }
        locks.retain(|_, lock| lock.strong_count() > 0);
        let lock = Arc::new(tokio::sync::Mutex::new(Last::default()));
        locks.insert((account, part), Arc::downgrade(&lock));
        lock
    }

    /// Whether the servers of this connection were seen to know an account.
    pub(super) fn is_confirmed(&self, ready: &Ready, account: AccountId) -> bool {
        let (generation, accounts) = &*self.parts.confirmed.lock().unwrap_or_else(PoisonError::into_inner);
        *generation == ready.generation && accounts.contains(&account)
    }

    /// Notes that the servers of this connection know an account.
    pub(super) fn confirm(&self, ready: &Ready, account: AccountId) {
        let confirmed = &mut *self.parts.confirmed.lock().unwrap_or_else(PoisonError::into_inner);
        if confirmed.0 != ready.generation {
            *confirmed = (ready.generation, HashSet::new());
        }
        confirmed.1.insert(account);
    }

    pub(super) fn now(&self) -> i64 {
        rights::now(&*self.parts.tenure.clock())
    }
}

impl std::fmt::Debug for Nats {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Nats").field("url", &self.parts.settings.public_url).finish_non_exhaustive()
    }
}
