//! The engine: a migrated database, its log, its keys, and everything that can be asked of them.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::aggregates::source::RetentionDefaults;
use crate::aggregates::{self, ClaimHasher as _};
use crate::clock::{Clock, Timestamp};
use crate::coarse::Coarse;
use crate::codec::{Codec, CodecError};
use crate::context::{Actor, IdempotencyKey};
use crate::credentials::argon2_pool::{self, Argon2Pool};
use crate::credentials::forgotten::ForgottenList;
use crate::credentials::key_ring::{KeyRing, KeyRingError};
use crate::credentials::master_key::MasterKeySource;
use crate::dispatch::{DispatchError, Dispatcher};
use crate::entropy::Entropy;
use crate::event_log::follow::Follower;
use crate::event_log::upcast::Upcasters;
use crate::event_log::{self, AppendError, EventLog, ReadError};
use crate::genesis;
use crate::ids::LogId;
use crate::operations::{Limits, Refusal};
use crate::postgres::migrate::{MigrateError, Migration};
use crate::postgres::{Address, ConnectError};
use crate::projections::{self, Reader};

/// How an engine is opened.
#[derive(Clone)]
pub struct Settings {
    /// The database.
    pub address: Address,
    /// The most connections of the reading pool.
    pub connections: usize,
    /// Where the master key is.
    pub master_key: MasterKeySource,
    /// How many units may wait for the committer.
    pub queue: usize,
    /// How long a command waits for its outcome.
    pub answer_within: Duration,
    /// How many secrets may be hashed or wait for it.
    pub hash_queue: usize,
    /// Where the list of the forgotten is kept, outside the database; `None`: nowhere.
    pub forgotten_list: Option<PathBuf>,
    /// What is not left to the code.
    pub rules: Rules,
}

/// What an instance may set for itself.
#[derive(Clone, Debug)]
pub struct Rules {
    /// What API keys and tokens begin with.
    pub sentinel: String,
    /// How long an invite stands.
    pub invite_life: Duration,
    /// What a pipe keeps when nothing else is said.
    pub retention: RetentionDefaults,
    /// How many there may be of what tenants and strangers can make.
    pub limits: Limits,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            sentinel: crate::credentials::api_key::SENTINEL.to_owned(),
            invite_life: Duration::from_hours(14 * 24),
            retention: RetentionDefaults::default(),
            limits: Limits::default(),
        }
    }
}

impl Settings {
    /// The defaults for this database and this master key.
    #[must_use]
    pub fn new(address: Address, master_key: MasterKeySource) -> Self {
        Self {
            address,
            connections: 16,
            master_key,
            queue: 4_096,
            answer_within: Duration::from_secs(30),
            hash_queue: argon2_pool::QUEUE,
            forgotten_list: None,
            rules: Rules::default(),
        }
    }
}

/// How often the memory of a node takes in what others have committed, at most.
const OBSERVE_EVERY: Duration = Duration::from_millis(10);

/// Why an engine cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The database could not be brought up to this release.
    #[error(transparent)]
    Migrate(#[from] MigrateError),
    /// There is no connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The keys cannot be opened.
    #[error(transparent)]
    KeyRing(#[from] KeyRingError),
    /// The log cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The first event could not be made.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// People who had been forgotten could not be forgotten again.
    #[error("the list of the forgotten could not be brought together with the log: {0}")]
    Forgettings(Box<DispatchError<Refusal>>),
    /// The first event could not be stored.
    #[error(transparent)]
    Append(#[from] AppendError),
}

/// Tenure on one database. Cheap to share behind an [`Arc`].
pub struct Tenure {
    log: EventLog,
    codec: Codec,
    dispatcher: Dispatcher,
    reader: Reader,
    coarse: Coarse,
    argon2: Argon2Pool,
    forgotten_list: Option<ForgottenList>,
    rules: Rules,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
}

impl Tenure {
    /// Migrates the database if need be, opens its keys, and starts the committer.
    ///
    /// Safe from many nodes at once: one migrates, the others wait.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub async fn open(
        settings: Settings,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, OpenError> {
        let mut migration = Migration::begin(&settings.address).await?;
        let set = projections::set_name();
        let log_id = LogId::new(clock.now(), &*entropy);
        migration.run(projections::TABLES, &set, log_id).await?;
        let keys = Arc::new(KeyRing::open(migration.client(), &settings.master_key, &*entropy).await?);
        let database = migration.database(settings.connections)?;
        let options = event_log::Options {
            queue: settings.queue,
            answer_within: settings.answer_within,
            ..event_log::Options::new(set, aggregates::STREAM_TYPES)
        };
        let log = EventLog::open(&database, clock.clone(), options).await?;
        let codec = Codec::new(keys, Upcasters::default(), entropy.clone());
        if log.newest().await? == 0 {
            genesis::write(&log, &codec, clock.now()).await?;
        }
        drop(migration);
        let dispatcher = Dispatcher::new(log.clone(), codec.clone(), clock.clone(), entropy.clone());
        let reader = Reader::new(log.pool().clone(), codec.keys().clone());
        let coarse = Coarse::new(log.pool().clone());
        let argon2 = Argon2Pool::new(settings.hash_queue, &*entropy);
        let forgotten_list = settings.forgotten_list.map(ForgottenList::new);
        let rules = settings.rules;
        let tenure =
            Self { log, codec, dispatcher, reader, coarse, argon2, forgotten_list, rules, clock, entropy };
        let again =
            tenure.repeat_forgettings().await.map_err(|error| OpenError::Forgettings(Box::new(error)))?;
        if again > 0 {
            tracing::warn!(again, "people on the list of the forgotten were forgotten again");
        }
        Ok(tenure)
    }

    /// What the instance has set for itself.
    #[must_use]
    pub const fn rules(&self) -> &Rules {
        &self.rules
    }

    /// What is written often and means little.
    pub(crate) const fn coarse(&self) -> &Coarse {
        &self.coarse
    }

    /// Where secrets are hashed.
    #[must_use]
    pub const fn argon2(&self) -> &Argon2Pool {
        &self.argon2
    }

    pub(crate) const fn forgotten_list(&self) -> Option<&ForgottenList> {
        self.forgotten_list.as_ref()
    }

    /// What tells a request with the caller's own key from another: good for the same caller and the same route alone.
    #[must_use]
    pub fn idempotency_key(&self, actor: Actor, route: &str, key: &str, body: &[u8]) -> IdempotencyKey {
        let keys = self.codec.keys();
        let request = format!("{actor}\0{route}\0{key}");
        IdempotencyKey {
            request: keys.claim("idempotency_key", request.as_bytes()).key,
            body: keys.claim("idempotency_body", body).key,
        }
    }

    /// The event log.
    #[must_use]
    pub const fn log(&self) -> &EventLog {
        &self.log
    }

    /// Translates between stored events and typed ones.
    #[must_use]
    pub const fn codec(&self) -> &Codec {
        &self.codec
    }

    /// The tables, as typed queries.
    #[must_use]
    pub const fn reader(&self) -> &Reader {
        &self.reader
    }

    /// Carries out operations.
    #[must_use]
    pub const fn dispatcher(&self) -> &Dispatcher {
        &self.dispatcher
    }

    /// The clock that all domain times come from.
    #[must_use]
    pub fn clock(&self) -> Arc<dyn Clock> {
        self.clock.clone()
    }

    /// Where identifiers and keys come from.
    #[must_use]
    pub fn entropy(&self) -> Arc<dyn Entropy> {
        self.entropy.clone()
    }

    /// A fresh identifier of any kind.
    pub(crate) fn new_id<T>(&self, make: fn(Timestamp, &dyn Entropy) -> T) -> T {
        make(self.clock.now(), &*self.entropy)
    }

    /// Keeps memory in step with what other nodes commit, and counts how far behind it is; waits out a database that
    /// cannot be reached. Ends only when the log can no longer be trusted, with the reason.
    pub async fn observe(&self) -> ReadError {
        let lag = metrics::gauge!("tenure_follower_lag_events");
        let mut follower: Option<Follower> = None;
        loop {
            let step = async {
                let follower = match &mut follower {
                    Some(follower) => follower,
                    None => follower.insert(self.log.follow(self.log.newest().await?)),
                };
                for event in follower.next().await? {
                    self.dispatcher.observe(&event);
                }
                Ok::<_, ReadError>(follower.behind())
            };
            match step.await {
                #[allow(clippy::cast_precision_loss)]
                Ok(behind) => {
                    lag.set(behind as f64);
                    // Memory may be a moment late, so commits that come one by one are taken in together.
                    tokio::time::sleep(OBSERVE_EVERY).await;
                }
                Err(error @ ReadError::Unavailable(_)) => {
                    tracing::warn!(%error, "the follower waits for the database");
                    tokio::time::sleep(Duration::from_millis(500)).await;
                }
                Err(error) => return error,
            }
        }
    }

    /// Writes down where people reach this instance, for whoever makes links beside it.
    ///
    /// # Errors
    /// The database cannot be written to.
    pub async fn serve_at(&self, public_url: &str) -> Result<(), ReadError> {
        self.coarse.serve_at(public_url, self.clock.now()).await
    }

    /// Where people reach this instance, if it has ever been served.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn served_at(&self) -> Result<Option<String>, ReadError> {
        self.coarse.served_at().await
    }

    /// Stores or refuses everything accepted, then stops.
    pub async fn close(self) {
        let Self { log, dispatcher, .. } = self;
        drop(dispatcher);
        log.close().await;
    }
}
