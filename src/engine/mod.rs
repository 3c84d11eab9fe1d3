//! The engine: opens a database, its log and its keys, and holds the parts that serve commands and queries.

mod background;
mod error;
mod settings;

pub use error::OpenError;
pub use settings::{CLEAR_EVERY, Settings};

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{broadcast, watch};
use tokio::time::timeout;
use tokio_postgres::Client;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::aggregates::{self, ClaimHasher as _};
use crate::clock::{Clock, Stopwatch, Timestamp};
use crate::coarse::Coarse;
use crate::codec::Codec;
use crate::context::{Actor, IdempotencyKey};
use crate::credentials::argon2_pool::Argon2Pool;
use crate::credentials::forgotten::ForgottenList;
use crate::credentials::key_ring::{KeyRing, KeyRingError};
use crate::credentials::master_key::MasterKeyError;
use crate::dispatch::Dispatcher;
use crate::entropy::Entropy;
use crate::event_log::probe::NotReady;
use crate::event_log::seen;
use crate::event_log::upcast::Upcasters;
use crate::event_log::{self, AppendError, Checkpoint, EventHeader, EventLog, PrimaryError, ReadError};
use crate::genesis::{self};
use crate::ids::LogId;
use crate::operations::Rules;
use crate::postgres::migrate::{MigrateError, Migration, Projections};
use crate::postgres::{Address, STATEMENT_TIMEOUT, is_lock_timeout};
use crate::projections::{self, Reader};
use crate::replay::{
    Coverage, LOGGED, Phase, Progress, RebuildError, RebuildOptions, Rebuilt, Replay, Step, Verification,
};

/// How long deleting this node's row in `log.node` may take when the engine closes.
const LEAVE_TIMEOUT: Duration = Duration::from_millis(500);

/// How often the progress of a long start is logged.
const SAY_EVERY: Duration = Duration::from_secs(5);

/// How many reads of the follower wait for those who act on them. Who is later than that has missed some, and is told so.
const OBSERVED: usize = 1_024;

/// What the follower of a node has read.
#[derive(Clone, Debug)]
pub enum Observed {
    /// The next events.
    Events(Arc<[EventHeader]>),
    /// Positions have a new epoch: events may have been lost, or others may have taken their place.
    NewEpoch,
}

/// A running Tenure engine on one database. Clones are handles to the same engine.
#[derive(Clone)]
pub struct Tenure {
    parts: Arc<Parts>,
    /// Stops the background tasks when the last handle is dropped. The tasks themselves hold `None`, or they would keep
    /// the engine alive.
    _running: Option<Arc<DropGuard>>,
}

struct Parts {
    log: EventLog,
    codec: Codec,
    dispatcher: Dispatcher,
    reader: Reader,
    replay: Replay,
    coarse: Coarse,
    argon2: Argon2Pool,
    forgotten_list: Option<ForgottenList>,
    rules: Rules,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    stop: CancellationToken,
    tasks: TaskTracker,
    /// What the follower of this node has read, for those who act on it.
    observed: broadcast::Sender<Observed>,
    /// Told when something was forgotten, so that no schema with tables as they were keeps it for long.
    forgotten: tokio::sync::Notify,
    /// Set once the log can no longer be trusted: the reason.
    broken: watch::Sender<Option<Arc<ReadError>>>,
    /// The master key that new data keys are wrapped with, if this node lacks it.
    lacks_key: watch::Sender<Option<String>>,
    /// Identifies this process: in `log.node`, and as the holder of leases.
    node: Uuid,
    audit_every: Option<Duration>,
    /// The rebuild of the start.
    rebuilt: Option<Rebuilt>,
}

impl Tenure {
    /// Migrates the database if needed, opens its key ring, and starts the committer, the sweeper, and the follower
    /// that keeps caches in step with other nodes. They run until the engine is closed or its last handle is dropped.
    ///
    /// Many nodes can open the same database at once: one migrates while the others wait.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub async fn open(
        settings: Settings,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, OpenError> {
        let (log, codec, rebuilt) = prepare(&settings, &clock, &entropy).await?;
        let node = LogId::new(clock.now(), &*entropy).as_uuid();
        log.join(node).await?;
        let dispatcher = Dispatcher::new(log.clone(), codec.clone(), clock.clone(), entropy.clone());
        let reader = Reader::new(log.primary().clone(), codec.keys().clone());
        let replay = Replay::new(log.clone(), codec.clone(), clock.clone(), entropy.clone());
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
            replay,
            coarse,
            argon2,
            forgotten_list,
            rules,
            clock: clock.clone(),
            entropy: entropy.clone(),
            stop,
            tasks,
            observed: broadcast::Sender::new(OBSERVED),
            forgotten: tokio::sync::Notify::new(),
            broken,
            lacks_key: watch::Sender::new(None),
            node,
            audit_every: settings.audit_every,
            rebuilt,
        };
        let tenure = Self { parts: Arc::new(parts), _running: running };
        // From here on a change of the master key waits for this node.
        if let Some(lacking) = tenure.follow_key_ring().await?
            && lacking.is_current
        {
            let next_file = tenure.codec().keys().source().file_of_next();
            let missing = MasterKeyError::MissingNext { log: lacking.key, next_file };
            return Err(KeyRingError::MasterKey(missing).into());
        }
        // Before anything is decoded: an event of another node from here on invalidates what the start has cached.
        let follower = tenure.log().follow_headers();
        tenure.upgrade_once().await.map_err(|error| OpenError::Upgrade(Box::new(error)))?;
        let again =
            tenure.repeat_forgettings().await.map_err(|error| OpenError::Forgettings(Box::new(error)))?;
        if again > 0 {
            tracing::warn!(again, "users on the list of forgotten users were forgotten again");
        }
        let clear_every = settings.clear_every;
        // Without the drop guard, so that the task does not keep the engine running.
        let within = Self { parts: tenure.parts.clone(), _running: None };
        let stop = within.parts.stop.clone();
        tenure.parts.tasks.spawn(async move {
            stop.run_until_cancelled(Box::pin(within.run(clear_every, follower))).await
        });
        Ok(tenure)
    }

    /// The business rules of this instance.
    #[must_use]
    pub fn rules(&self) -> &Rules {
        &self.parts.rules
    }

    /// Frequent, unimportant writes outside the log, such as when a secret was last used.
    pub(crate) fn coarse(&self) -> &Coarse {
        &self.parts.coarse
    }

    /// The threads that hash and verify secrets.
    #[must_use]
    pub fn argon2(&self) -> &Argon2Pool {
        &self.parts.argon2
    }

    /// The list of forgotten users; `None` if the settings name no file.
    pub(crate) fn forgotten_list(&self) -> Option<&ForgottenList> {
        self.parts.forgotten_list.as_ref()
    }

    /// Turns a client's idempotency key into the stored one, which is valid only for the same actor and route. `body`
    /// is kept as an HMAC, to detect the same key with another body.
    #[must_use]
    pub fn idempotency_key(&self, actor: Actor, route: &str, key: &str, body: &[u8]) -> IdempotencyKey {
        let keys = self.parts.codec.keys();
        let request = format!("{actor}\0{route}\0{key}");
        IdempotencyKey {
            request: keys.claim("idempotency_key", request.as_bytes()).key,
            body: keys.claim("idempotency_body", body).key,
        }
    }

    /// The event log of this engine.
    #[must_use]
    pub fn log(&self) -> &EventLog {
        &self.parts.log
    }

    /// The codec between stored and typed events.
    #[must_use]
    pub fn codec(&self) -> &Codec {
        &self.parts.codec
    }

    /// Typed queries on the projections.
    #[must_use]
    pub fn reader(&self) -> &Reader {
        &self.parts.reader
    }

    /// What rebuilds the projections from the log, and compares them with it.
    #[must_use]
    pub fn replay(&self) -> &Replay {
        &self.parts.replay
    }

    /// The rebuild of the start, if the database had the projections of another release, or of a torn dump.
    #[must_use]
    pub fn rebuilt_at_start(&self) -> Option<&Rebuilt> {
        self.parts.rebuilt.as_ref()
    }

    /// The dispatcher, which runs operations.
    #[must_use]
    pub fn dispatcher(&self) -> &Dispatcher {
        &self.parts.dispatcher
    }

    /// The clock that all domain times come from.
    #[must_use]
    pub fn clock(&self) -> Arc<dyn Clock> {
        self.parts.clock.clone()
    }

    /// The source of randomness for identifiers and keys.
    #[must_use]
    pub fn entropy(&self) -> Arc<dyn Entropy> {
        self.parts.entropy.clone()
    }

    /// A new identifier; `make` is the constructor of its type.
    pub(crate) fn new_id<T>(&self, make: fn(Timestamp, &dyn Entropy) -> T) -> T {
        make(self.parts.clock.now(), &*self.parts.entropy)
    }

    /// What the follower of this node reads from now on, in order: every event, whichever node has stored it.
    #[must_use]
    pub fn observe(&self) -> broadcast::Receiver<Observed> {
        self.parts.observed.subscribe()
    }

    /// The identifier of this process: in `log.node`, and as the holder of leases.
    #[must_use]
    pub fn node(&self) -> Uuid {
        self.parts.node
    }

    /// Waits until the log can no longer be trusted and returns the reason. The caches are then no longer kept in step
    /// with the log, so a server should stop. Never returns while all is well, nor after the engine is closed.
    pub async fn broken(&self) -> Arc<ReadError> {
        let mut broken = self.parts.broken.subscribe();
        match broken.wait_for(Option::is_some).await.as_deref() {
            Ok(Some(error)) => error.clone(),
            // This handle owns the sender, so the channel cannot be closed.
            Ok(None) | Err(_) => std::future::pending().await,
        }
    }

    /// The newest position of the log, if this node can serve requests.
    ///
    /// # Errors
    /// [`NotReady`] with the reason why it cannot.
    pub async fn ready(&self) -> Result<Checkpoint, NotReady> {
        let newest = self.parts.log.ready().await?;
        match &*self.parts.lacks_key.borrow() {
            None => Ok(newest),
            Some(key) => Err(NotReady::LacksKey(key.clone())),
        }
    }

    /// Stores the public URL of this instance, for processes that create links without serving, such as the CLI.
    ///
    /// # Errors
    /// [`ReadError`] if the database cannot be written to.
    pub async fn record_public_url(&self, public_url: &str) -> Result<(), ReadError> {
        self.parts.coarse.record_public_url(public_url, self.parts.clock.now()).await
    }

    /// The public URL of this instance; `None` if it has never been served.
    ///
    /// # Errors
    /// [`ReadError`] if the database cannot be read.
    pub async fn public_url_of_instance(&self) -> Result<Option<String>, ReadError> {
        self.parts.coarse.public_url_of_instance().await
    }

    /// Refuses new commands with [`AppendError::Closed`], waits until every accepted command is stored or refused, then
    /// returns, even if other handles to the engine or its log exist. Closing twice has no further effect.
    pub async fn close(&self) {
        self.parts.stop.cancel();
        self.parts.tasks.close();
        self.parts.log.close().await;
        self.parts.tasks.wait().await;
        // Last: nothing of this node is stored any more. Without an answer the row expires.
        let leaving = self.parts.log.leave(self.parts.node);
        let _ = timeout(LEAVE_TIMEOUT, leaving).await;
    }
}

/// Gives the log in a database a new epoch. Nodes may be running; they switch to it.
///
/// # Errors
/// [`OpenError`] if the database cannot be reached or written to, or holds no log.
pub async fn new_epoch(address: &Address, entropy: &dyn Entropy) -> Result<Checkpoint, OpenError> {
    let mut migration = Migration::begin(address).await?;
    migration.act_as_owner().await?;
    let renewing = timeout(STATEMENT_TIMEOUT, seen::renew(migration.client(), |_| true, entropy)).await;
    let head = renewing.unwrap_or(Err(PrimaryError::TimedOut(STATEMENT_TIMEOUT)))?;
    let seen::Head { log_id, epoch, position, event_id, .. } = head;
    Ok(Checkpoint { log_id, epoch, position, event_id })
}

/// Refuses a clock whose offset from the database server's exceeds [`Clock::max_offset`].
async fn check_clock(client: &Client, clock: &dyn Clock) -> Result<(), OpenError> {
    let Some(bound) = clock.max_offset() else { return Ok(()) };
    // Asked twice if needed: a busy server may have delayed the first answer, which looks like an offset.
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

/// Brings a database up to this release, and opens its log and its keys. Returns the rebuild that it took, too.
///
/// Projections of another release, or those of a torn dump, are rebuilt without the migration lock. One node does it, and the
/// others wait for it.
async fn prepare(
    settings: &Settings,
    clock: &Arc<dyn Clock>,
    entropy: &Arc<dyn Entropy>,
) -> Result<(EventLog, Codec, Option<Rebuilt>), OpenError> {
    let mut last = None;
    loop {
        let mut migration = Migration::begin(&settings.address).await?;
        check_clock(migration.client(), &**clock).await?;
        let set = projections::set_name();
        let log_id = LogId::new(clock.now(), &**entropy);
        let epoch = seen::new_epoch(&**entropy);
        let found = migration.run(projections::TABLES, &set, log_id, epoch, settings.replacing).await?;
        match migration.drop_leftovers().await {
            // A login that may only serve: a node with more rights drops them.
            Err(MigrateError::Denied(reason)) => tracing::debug!(reason, "leftovers of rebuilds stay"),
            Err(error) if is_lock_timeout(&error) => tracing::debug!(%error, "leftovers of rebuilds stay"),
            done => done?,
        }
        let slow = || PrimaryError::TimedOut(STATEMENT_TIMEOUT);
        let opening = KeyRing::open(migration.client(), &settings.master_key, &**entropy);
        let keys = Arc::new(timeout(STATEMENT_TIMEOUT, opening).await.map_err(|_| slow())??);
        let taking = seen::adopt_server(migration.client(), &**entropy);
        let head = timeout(STATEMENT_TIMEOUT, taking).await.map_err(|_| slow())??;
        // Until the key ring knows the epoch, it treats every cached key as outdated.
        keys.begin_epoch(head.epoch);
        let options = event_log::Options {
            connections: settings.connections,
            queue: settings.queue,
            answer_within: settings.answer_within,
            ..event_log::Options::new(set, aggregates::STREAM_TYPES)
        };
        let log = EventLog::open(migration.database(), &head, clock.clone(), entropy.clone(), options)?;
        let of_epoch = keys.clone();
        // Data keys of an earlier epoch may have been destroyed in the new one.
        log.seen().on_new_epoch(move |epoch| of_epoch.begin_epoch(epoch));
        let codec = Codec::new(keys, Upcasters::default(), entropy.clone());
        if found == Projections::Current {
            migration.finish().await?;
            if log.newest().await? == 0 {
                genesis::write(&log, &codec, clock.now()).await?;
            }
            // Dropping `migration` releases its lock: other nodes can start from here on.
            return Ok((log, codec, last));
        }
        // A rebuild loads data keys over the serving pool, whose role needs its privileges first.
        migration.grant().await?;
        drop(migration);
        let replay = Replay::new(log.clone(), codec, clock.clone(), entropy.clone());
        let rebuilt = match rebuild_projections(&replay, &found, settings).await {
            Err(RebuildError::Running(holder)) => {
                tracing::warn!(holder, "another node is rebuilding the projections; waiting for it");
                replay.wait_for_other(settings.stalled_after).await.map(|()| None)
            }
            Err(RebuildError::Overtaken) => Ok(None),
            rebuilt => rebuilt.map(Some),
        };
        log.close().await;
        last = rebuilt?.or(last);
        // From the top: the schema, the privileges and the head are those of the new projections now.
    }
}

/// Rebuilds projections of another release, or those of a torn dump.
async fn rebuild_projections(
    replay: &Replay,
    found: &Projections,
    settings: &Settings,
) -> Result<Rebuilt, RebuildError> {
    let progress = settings.progress.clone();
    let verification = match found {
        Projections::Outdated(former) => {
            tracing::warn!(
                former,
                "replacing the projections of another release; this reads the whole log once"
            );
            settings.verification
        }
        // What differs is said, and does not stop the start.
        Projections::Mistrusted => Verification::Report,
        Projections::Torn | Projections::Current => {
            tracing::warn!(
                "the projections are not those that the log expects, as in a dump that was taken while they were \
                 replaced: rebuilding them from the log"
            );
            Verification::Skip
        }
    };
    let reading = Mutex::new((0, 0, Stopwatch::start()));
    let tell = Progress::new(move |step| {
        let mut reading = reading.lock().unwrap_or_else(PoisonError::into_inner);
        let (done, all, said) = &mut *reading;
        match step {
            Step::Begun(Phase::ReadingLog, events) => (*done, *all) = (0, events),
            Step::Advanced(by) if *all > 0 => {
                *done += by;
                if let Some(progress) = &progress {
                    progress(*done, *all);
                }
                if said.elapsed() >= SAY_EVERY || done == all {
                    tracing::warn!(done, all, "events read");
                    *said = Stopwatch::start();
                }
            }
            Step::Begun(phase, _) => {
                *all = 0;
                tracing::warn!("rebuilding the projections: {}", phase.as_str());
            }
            Step::Advanced(_) => {}
            Step::WaitingFor(holders) => {
                if said.elapsed() >= SAY_EVERY {
                    tracing::warn!(?holders, "waiting for transactions that hold locks on the projections");
                    *said = Stopwatch::start();
                }
            }
        }
    });
    let options = RebuildOptions {
        verification,
        swap_wait: settings.swap_wait,
        drain_timeout: settings.drain_timeout,
        unless_current: true,
        ..RebuildOptions::default()
    };
    let rebuilt = replay.rebuild(&options, &tell).await.inspect_err(|error| {
        if let RebuildError::Differs { differences, .. } = error {
            for difference in differences.first.iter().take(LOGGED) {
                tracing::error!("the projections differ from what the log says: {difference}");
            }
        }
    })?;
    let differences = &rebuilt.differences;
    for difference in differences.first.iter().take(LOGGED) {
        tracing::error!("the projections differed from what the log says: {difference}");
    }
    if differences.count > 0 {
        tracing::error!(
            count = differences.count,
            "rows differed from what the log says; they were replaced"
        );
    }
    let Coverage { compared_in_part, not_compared } = &rebuilt.coverage;
    tracing::warn!(
        rows = rebuilt.rows,
        position = rebuilt.position,
        ?compared_in_part,
        ?not_compared,
        "the projections are rebuilt"
    );
    Ok(rebuilt)
}
