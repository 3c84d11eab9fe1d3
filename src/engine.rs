//! The engine: a migrated database, its log, its keys, and everything that can be asked of them.

use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_postgres::Client;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::aggregates::source::RetentionDefaults;
use crate::aggregates::{self, ClaimHasher as _};
use crate::clock::{Clock, Stopwatch, Timestamp};
use crate::coarse::Coarse;
use crate::codec::Codec;
use crate::context::{Actor, IdempotencyKey};
use crate::credentials::argon2_pool::{self, Argon2Pool};
use crate::credentials::forgotten::ForgottenList;
use crate::credentials::key_ring::{KeyRing, KeyRingError};
use crate::credentials::master_key::MasterKeySource;
use crate::dispatch::{DispatchError, Dispatcher};
use crate::entropy::Entropy;
use crate::event_log::EventHeader;
use crate::event_log::follow::Follower;
use crate::event_log::probe::NotReady;
use crate::event_log::seen;
use crate::event_log::upcast::Upcasters;
use crate::event_log::{self, AppendError, Checkpoint, EventLog, PrimaryError, ReadError};
use crate::genesis::{self, GenesisError};
use crate::ids::LogId;
use crate::operations::{Limits, Refusal};
use crate::postgres::migrate::{MigrateError, Migration, Projections};
use crate::postgres::{Address, ConnectError, STATEMENT_TIMEOUT};
use crate::projections::{self, Reader};
use crate::replay::fold::{self, FoldError};

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
    /// How often the engine looks for what ended accounts, people and memberships have left behind, to clear it away.
    pub clear_every: Duration,
    /// Told how many events are done of how many, while the projections of another release are replaced.
    pub progress: Option<Arc<dyn Fn(u64, u64) + Send + Sync>>,
}

/// What an instance may set for itself.
#[derive(Clone, Debug)]
pub struct Rules {
    /// What API keys and tokens begin with.
    pub sentinel: String,
    /// How long an invite stands.
    pub invite_ttl: Duration,
    /// What a pipe keeps when nothing else is said.
    pub retention: RetentionDefaults,
    /// How many there may be of what tenants and strangers can make.
    pub limits: Limits,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            sentinel: crate::credentials::api_key::SENTINEL.to_owned(),
            invite_ttl: Duration::from_hours(14 * 24),
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
            answer_within: event_log::ANSWER_TIMEOUT,
            hash_queue: argon2_pool::MAX_QUEUED,
            forgotten_list: None,
            rules: Rules::default(),
            clear_every: CLEAR_EVERY,
            progress: None,
        }
    }
}

/// After how many sweeps one begins from the start again.
const SWEEPS_FROM_THE_START: u64 = 60;

/// How often the log says how far a long start has come.
const SAY_EVERY: Duration = Duration::from_secs(5);

/// How often the requests that are over are removed.
const SWEEP_EVERY: Duration = Duration::from_mins(1);

/// How often endings are looked for, if nothing else is set.
const CLEAR_EVERY: Duration = Duration::from_secs(2);

/// How many endings that have left something behind are counted at most.
const COUNTED_ENDINGS: i64 = 1_000;

/// For how long a node says that it is the one that clears away.
const CLEAR_LEASE: Duration = Duration::from_secs(10);

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
    /// The server does not answer for the log.
    #[error(transparent)]
    Primary(#[from] PrimaryError),
    /// The projections of another release could not be replaced.
    #[error(transparent)]
    Fold(#[from] FoldError),
    /// This machine's clock and the database server's differ.
    #[error(transparent)]
    Clock(AppendError),
    /// The keys cannot be opened.
    #[error(transparent)]
    KeyRing(#[from] KeyRingError),
    /// The log cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// People who had been forgotten could not be forgotten again.
    #[error("the list of the forgotten could not be brought together with the log: {0}")]
    Forgettings(Box<DispatchError<Refusal>>),
    /// The events that an upgrade adds once could not be stored.
    #[error("the log could not be brought up to this release: {0}")]
    Upgrade(Box<DispatchError<Refusal>>),
    /// The first event could not be written.
    #[error(transparent)]
    Genesis(#[from] GenesisError),
}

/// Tenure on one database. Clones are handles on the same engine.
#[derive(Clone)]
pub struct Tenure {
    parts: Arc<Parts>,
    /// Ends what runs beside the callers with the last handle; what runs there has none itself.
    _running: Option<Arc<DropGuard>>,
}

struct Parts {
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
    stop: CancellationToken,
    tasks: TaskTracker,
    /// Why the engine can no longer be trusted, once it cannot.
    broken: watch::Sender<Option<Arc<ReadError>>>,
}

impl Tenure {
    /// Migrates the database if need be, opens its keys, and starts the committer, the follower that keeps memory in step
    /// with what other nodes commit, and the sweeper. They run until the engine is closed or its last handle is gone.
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
        check_clock(migration.client(), &*clock).await?;
        let set = projections::set_name();
        let log_id = LogId::new(clock.now(), &*entropy);
        let found = migration.run(projections::TABLES, &set, log_id, seen::new_epoch(&*entropy)).await?;
        let slow = || PrimaryError::TimedOut(STATEMENT_TIMEOUT);
        let opening = KeyRing::open(migration.client(), &settings.master_key, &*entropy);
        let keys = Arc::new(timeout(STATEMENT_TIMEOUT, opening).await.map_err(|_| slow())??);
        let taking = seen::adopt_server(migration.client(), &*entropy);
        let head = timeout(STATEMENT_TIMEOUT, taking).await.map_err(|_| slow())??;
        keys.begin_epoch(head.epoch);
        let options = event_log::Options {
            connections: settings.connections,
            queue: settings.queue,
            answer_within: settings.answer_within,
            ..event_log::Options::new(set, aggregates::STREAM_TYPES)
        };
        let log = EventLog::open(migration.database()?, &head, clock.clone(), entropy.clone(), options)?;
        let of_epoch = keys.clone();
        log.seen().on_new_epoch(move |epoch| of_epoch.begin_epoch(epoch));
        let codec = Codec::new(keys, Upcasters::default(), entropy.clone());
        if let Projections::Outdated(former) = found {
            // What it reads beside the locked connection, it reads as it will be served.
            migration.grant().await?;
            let progress = settings.progress.as_deref();
            replace_projections(&mut migration, &former, &codec, &log, progress).await?;
        }
        migration.finish().await?;
        if log.newest().await? == 0 {
            genesis::write(&log, &codec, clock.now()).await?;
        }
        drop(migration);
        let dispatcher = Dispatcher::new(log.clone(), codec.clone(), clock.clone(), entropy.clone());
        let reader = Reader::new(log.primary().clone(), codec.keys().clone());
        let coarse = Coarse::new(log.primary().clone());
        let argon2 = Argon2Pool::new(settings.hash_queue, &*entropy);
        let forgotten_list = settings.forgotten_list.map(ForgottenList::new);
        let rules = settings.rules;
        let stop = CancellationToken::new();
        let running = Some(Arc::new(stop.clone().drop_guard()));
        let (tasks, broken) = (TaskTracker::new(), watch::Sender::new(None));
        let parts = Parts {
            log,
            codec,
            dispatcher,
            reader,
            coarse,
            argon2,
            forgotten_list,
            rules,
            clock,
            entropy,
            stop,
            tasks,
            broken,
        };
        let tenure = Self { parts: Arc::new(parts), _running: running };
        tenure.upgrade_once().await.map_err(|error| OpenError::Upgrade(Box::new(error)))?;
        let again =
            tenure.repeat_forgettings().await.map_err(|error| OpenError::Forgettings(Box::new(error)))?;
        if again > 0 {
            tracing::warn!(again, "people on the list of the forgotten were forgotten again");
        }
        let clear_every = settings.clear_every;
        let within = Self { parts: tenure.parts.clone(), _running: None };
        let stop = within.parts.stop.clone();
        tenure
            .parts
            .tasks
            .spawn(async move { stop.run_until_cancelled(Box::pin(within.run(clear_every))).await });
        Ok(tenure)
    }

    /// What the instance has set for itself.
    #[must_use]
    pub fn rules(&self) -> &Rules {
        &self.parts.rules
    }

    /// What is written often and means little.
    pub(crate) fn coarse(&self) -> &Coarse {
        &self.parts.coarse
    }

    /// Where secrets are hashed.
    #[must_use]
    pub fn argon2(&self) -> &Argon2Pool {
        &self.parts.argon2
    }

    pub(crate) fn forgotten_list(&self) -> Option<&ForgottenList> {
        self.parts.forgotten_list.as_ref()
    }

    /// What tells a request with the caller's own key from another: good for the same caller and the same route alone.
    #[must_use]
    pub fn idempotency_key(&self, actor: Actor, route: &str, key: &str, body: &[u8]) -> IdempotencyKey {
        let keys = self.parts.codec.keys();
        let request = format!("{actor}\0{route}\0{key}");
        IdempotencyKey {
            request: keys.claim("idempotency_key", request.as_bytes()).key,
            body: keys.claim("idempotency_body", body).key,
        }
    }

    /// The event log.
    #[must_use]
    pub fn log(&self) -> &EventLog {
        &self.parts.log
    }

    /// Translates between stored events and typed ones.
    #[must_use]
    pub fn codec(&self) -> &Codec {
        &self.parts.codec
    }

    /// The tables, as typed queries.
    #[must_use]
    pub fn reader(&self) -> &Reader {
        &self.parts.reader
    }

    /// Carries out operations.
    #[must_use]
    pub fn dispatcher(&self) -> &Dispatcher {
        &self.parts.dispatcher
    }

    /// The clock that all domain times come from.
    #[must_use]
    pub fn clock(&self) -> Arc<dyn Clock> {
        self.parts.clock.clone()
    }

    /// Where identifiers and keys come from.
    #[must_use]
    pub fn entropy(&self) -> Arc<dyn Entropy> {
        self.parts.entropy.clone()
    }

    /// A fresh identifier of any kind.
    pub(crate) fn new_id<T>(&self, make: fn(Timestamp, &dyn Entropy) -> T) -> T {
        make(self.parts.clock.now(), &*self.parts.entropy)
    }

    /// What runs beside the callers; waits out a database that cannot be reached, and begins anew when positions get
    /// another epoch. Ends only when the log can no longer be trusted.
    async fn run(&self, clear_every: Duration) {
        let running = async {
            tokio::select! {
                error = self.follow() => error,
                never = self.sweep() => match never {},
                never = self.keep_clearing(clear_every) => match never {},
            }
        };
        // Nobody waits for this task: whoever serves learns of its end from what it leaves.
        let ended = AssertUnwindSafe(running).catch_unwind().await;
        let error =
            ended.unwrap_or_else(|_| ReadError::Unavailable("what follows the log has failed".into()));
        tracing::error!(%error, "the log can no longer be trusted");
        self.parts.broken.send_replace(Some(Arc::new(error)));
    }

    /// Waits until the log can no longer be trusted, and says why: memory is not kept in step with it any more, and whoever
    /// serves from it should end. Waits for ever while all is well, and once the engine is closed.
    pub async fn broken(&self) -> Arc<ReadError> {
        let mut broken = self.parts.broken.subscribe();
        match broken.wait_for(Option::is_some).await.as_deref() {
            Ok(Some(error)) => error.clone(),
            // This handle has the sender, so that the channel is open.
            Ok(None) | Err(_) => std::future::pending().await,
        }
    }

    /// Removes what is over and kept by nothing else, in small steps, for ever.
    async fn sweep(&self) -> std::convert::Infallible {
        let mut from = Timestamp::default();
        let mut round = 0_u64;
        loop {
            tokio::time::sleep(SWEEP_EVERY).await;
            // Now and then from the start: some were locked when they were passed, or came back with a backup.
            if round.is_multiple_of(SWEEPS_FROM_THE_START) {
                from = Timestamp::default();
            }
            round += 1;
            loop {
                match self.parts.log.sweep_requests(from, self.parts.clock.now()).await {
                    Ok((reached, more)) => {
                        from = reached;
                        if !more {
                            break;
                        }
                    }
                    Err(error) => {
                        tracing::debug!(%error, "requests that are over could not be removed");
                        break;
                    }
                }
            }
        }
    }

    /// Clears away what endings have left behind, for ever, while this node is the one that does so.
    async fn keep_clearing(&self, every: Duration) -> std::convert::Infallible {
        let node = self.new_id(LogId::new).as_uuid();
        let left = metrics::gauge!("tenure_endings_to_clear");
        loop {
            tokio::time::sleep(every).await;
            match self.reader().endings(COUNTED_ENDINGS).await {
                Ok(endings) if endings.is_empty() => {
                    left.set(0);
                    continue;
                }
                Ok(endings) => left.set(u32::try_from(endings.len()).unwrap_or(u32::MAX)),
                Err(error) => {
                    tracing::debug!(%error, "endings could not be looked for");
                    continue;
                }
            }
            match self.coarse().clears_away(node, CLEAR_LEASE).await {
                Ok(true) => {}
                Ok(false) => continue,
                Err(error) => {
                    tracing::debug!(%error, "who clears away could not be settled");
                    continue;
                }
            }
            let clearing = self.clear_away();
            tokio::pin!(clearing);
            let ended = loop {
                tokio::select! {
                    ended = &mut clearing => break ended,
                    () = tokio::time::sleep(CLEAR_LEASE / 2) => {
                        if let Err(error) = self.coarse().clears_away(node, CLEAR_LEASE).await {
                            tracing::debug!(%error, "the lease to clear away could not be renewed");
                        }
                    }
                }
            };
            match ended {
                Ok(endings) => {
                    left.set(0);
                    tracing::info!(endings, "what had ended is cleared away");
                }
                Err(error) => {
                    tracing::warn!(%error, "what has ended could not be cleared away; it is tried again");
                }
            }
        }
    }

    async fn follow(&self) -> ReadError {
        let lag = metrics::gauge!("tenure_follower_lag_events");
        let mut follower: Option<Follower<EventHeader>> = None;
        let mut owes_forgettings = false;
        loop {
            if owes_forgettings {
                // Events that the log has lost may have forgotten people.
                match self.repeat_forgettings().await {
                    Ok(_) => owes_forgettings = false,
                    Err(error) => {
                        tracing::warn!(%error, "the list of the forgotten is not yet brought together with the log");
                    }
                }
            }
            let step = async {
                let follower = match &mut follower {
                    Some(follower) => follower,
                    // From what was read when the node opened, so that nothing between is missed.
                    None => follower.insert(self.parts.log.follow_headers()),
                };
                for event in follower.next().await? {
                    self.parts.dispatcher.observe(&event);
                    if event.event_type == "user.forgotten"
                        && let Ok(user) = event.stream.id.parse()
                    {
                        // Also of what other nodes forget.
                        self.list_as_forgotten(user).await;
                    }
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
                Err(error @ ReadError::LogReplaced { .. }) => {
                    tracing::warn!(%error, "the follower begins anew");
                    follower = None;
                    owes_forgettings = true;
                }
                Err(error) => return error,
            }
        }
    }

    /// The newest place in the log, if this node can serve at present.
    ///
    /// # Errors
    /// See [`NotReady`]
    pub async fn ready(&self) -> Result<Checkpoint, NotReady> {
        self.parts.log.ready().await
    }

    /// Writes down where people reach this instance, for whoever makes links beside it.
    ///
    /// # Errors
    /// The database cannot be written to.
    pub async fn record_public_url(&self, public_url: &str) -> Result<(), ReadError> {
        self.parts.coarse.record_public_url(public_url, self.parts.clock.now()).await
    }

    /// Where people reach this instance, if it has ever been served.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn public_url_of_instance(&self) -> Result<Option<String>, ReadError> {
        self.parts.coarse.public_url_of_instance().await
    }

    /// Refuses new commands as [`AppendError::Closed`], stores or refuses everything accepted, then returns, whoever else has
    /// a handle on the engine or its log. Again: nothing.
    pub async fn close(&self) {
        self.parts.stop.cancel();
        self.parts.tasks.close();
        self.parts.log.close().await;
        self.parts.tasks.wait().await;
    }
}

/// Gives the log in a database a new epoch, whatever nodes run: they follow.
///
/// # Errors
/// The database cannot be reached or written to, or holds no log.
pub async fn new_epoch(address: &Address, entropy: &dyn Entropy) -> Result<Checkpoint, OpenError> {
    let mut migration = Migration::begin(address).await?;
    migration.act_as_owner().await?;
    let renewing = timeout(STATEMENT_TIMEOUT, seen::renew(migration.client(), |_| true, entropy)).await;
    let head = renewing.unwrap_or(Err(PrimaryError::TimedOut(STATEMENT_TIMEOUT)))?;
    let seen::Head { log_id, epoch, position, event_id, .. } = head;
    Ok(Checkpoint { log_id, epoch, position, event_id })
}

/// Refuses a clock that is too far from the database server's.
async fn check_clock(client: &Client, clock: &dyn Clock) -> Result<(), OpenError> {
    let Some(bound) = clock.max_offset() else { return Ok(()) };
    // Asked twice if need be: the first answer may have waited for a server that was busy.
    let mut offset = 0.0;
    for _ in 0..2 {
        let asked = clock.now();
        let asking = timeout(STATEMENT_TIMEOUT, client.query_one("select clock_timestamp()", &[])).await;
        let row =
            asking.map_err(|_| PrimaryError::TimedOut(STATEMENT_TIMEOUT))?.map_err(PrimaryError::from)?;
        let server: Timestamp = row.try_get(0).map_err(PrimaryError::from)?;
        offset = asked.seconds_since(server);
        if offset.abs() <= bound.as_secs_f64() {
            return Ok(());
        }
    }
    Err(OpenError::Clock(AppendError::clock(offset)))
}

/// Folds the log into this release's projections, in place of those of another one.
async fn replace_projections(
    migration: &mut Migration,
    former: &str,
    codec: &Codec,
    log: &EventLog,
    progress: Option<&(dyn Fn(u64, u64) + Send + Sync)>,
) -> Result<(), OpenError> {
    tracing::warn!(former, "the projections of another release are replaced: the whole log is read once");
    let said = std::cell::Cell::new(Stopwatch::start());
    let tell = |done, all| {
        if let Some(progress) = progress {
            progress(done, all);
        }
        if said.get().elapsed() >= SAY_EVERY || done == all {
            tracing::warn!(done, all, "events folded");
            said.set(Stopwatch::start());
        }
    };
    let folded =
        migration.long(async |client| fold::fold(client, former, codec, log.primary(), tell).await).await;
    Ok(folded?)
}
