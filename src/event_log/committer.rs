//! The committer: one task per process that stores everything that waits, many units to a transaction.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::Pool;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::task::TaskTracker;

use super::batch::{self, Waiting};
use super::error::{AppendError, ReadError};
use super::event::StreamId;
use super::session::{Head, Resolution, Session, read_head, reason};
use super::transaction::{self, BatchError, FirstOrdinals, Stored};
use super::unit::{MAX_UNIT_BYTES, MAX_UNIT_EVENTS, Unit};
use crate::clock::{Clock, Stopwatch, Timestamp};
use crate::postgres::Database;

/// How often a batch is sent again after a deadlock, a lock not granted or a moved fence.
const MAX_TRIES: u32 = 10;

/// How the log is opened.
pub struct Options {
    /// How many units may wait; one more is refused as [`AppendError::Busy`].
    pub queue: usize,
    /// How long a caller waits for an answer before it is told that the outcome is not known.
    pub answer_within: Duration,
    /// The set of projections that this release maintains.
    pub projection_set: String,
    /// Stream types that only Tenure itself may append to.
    pub reserved_types: &'static [&'static str],
}

impl Options {
    /// The defaults, for this set of projections and these types of our own.
    #[must_use]
    pub const fn new(projection_set: String, reserved_types: &'static [&'static str]) -> Self {
        Self { queue: 4_096, answer_within: Duration::from_secs(30), projection_set, reserved_types }
    }
}

/// Where a unit's events are in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// The position of the first event.
    pub first: i64,
    /// The position of the last: the unit's position token.
    pub last: i64,
    /// When the first event was recorded; each later one a microsecond after.
    pub recorded_from: Timestamp,
}

/// A handle on the log; clones share the committer, the reading pool and the follower's wake-ups.
#[derive(Clone)]
pub struct EventLog {
    inner: Arc<Inner>,
}

struct Inner {
    submissions: mpsc::Sender<Pending>,
    answer_within: Duration,
    reserved_types: &'static [&'static str],
    head: Head,
    database: Database,
    pool: Pool,
    wake: Arc<watch::Sender<i64>>,
    tasks: TaskTracker,
    latency: metrics::Histogram,
}

struct Pending {
    unit: Unit,
    answer: oneshot::Sender<Result<Appended, AppendError>>,
}

impl Waiting for Pending {
    fn unit(&self) -> &Unit {
        &self.unit
    }
}

impl EventLog {
    /// Opens the log of a migrated database and starts its committer and its listener.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn open(
        database: &Database,
        clock: Arc<dyn Clock>,
        options: Options,
    ) -> Result<Self, ReadError> {
        let pool = database.pool().clone();
        let mut head = read_head(&**pool.get().await?).await?;
        // The release's own set is what its appends compare, so that a superseded node finds out at its first.
        head.projection_set = options.projection_set;
        let (submissions, waiting) = mpsc::channel(options.queue);
        let wake = Arc::new(watch::Sender::new(0));
        let tasks = TaskTracker::new();
        let committer = Committer {
            database: database.clone(),
            clock,
            head: head.clone(),
            waiting,
            queue: VecDeque::new(),
            session: None,
            wake: wake.clone(),
            commits: metrics::counter!("tenure_commits_total"),
            events: metrics::counter!("tenure_events_total"),
            batch_units: metrics::histogram!("tenure_batch_units"),
            queue_length: metrics::gauge!("tenure_append_queue"),
        };
        tasks.spawn(committer.run());
        tokio::spawn(super::follow::listen(database.clone(), Arc::downgrade(&wake)));
        let latency = metrics::histogram!("tenure_append_seconds");
        let inner = Inner {
            submissions,
            answer_within: options.answer_within,
            reserved_types: options.reserved_types,
            head,
            database: database.clone(),
            pool,
            wake,
            tasks,
            latency,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Stores a unit whole or not at all, and answers once it is durable.
    ///
    /// # Errors
    /// See [`AppendError`]; only [`AppendError::OutcomeUnknown`] leaves open whether the unit was stored.
    pub async fn append(&self, unit: Unit) -> Result<Appended, AppendError> {
        check(&unit)?;
        let (answer, answered) = oneshot::channel();
        let watch = Stopwatch::start();
        self.inner.submissions.try_send(Pending { unit, answer }).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => AppendError::Busy,
            mpsc::error::TrySendError::Closed(_) => AppendError::Closed,
        })?;
        let result = match tokio::time::timeout(self.inner.answer_within, answered).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(AppendError::Closed),
            Err(_) => Err(AppendError::OutcomeUnknown),
        };
        self.inner.latency.record(watch.elapsed());
        result
    }

    /// Whether a decision that writes nothing still stands: `Some(newest position)` if nothing it read has moved.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn confirm(
        &self,
        reads: &[(StreamId, i64)],
        guards: &[(String, i64)],
    ) -> Result<Option<i64>, ReadError> {
        let client = self.pool().get().await?;
        let statement = client
            .prepare_cached("select contested, newest from log.confirm($1::text[], $2::text[], $3::bigint[], $4::text[], $5::bigint[])")
            .await?;
        let types: Vec<&str> = reads.iter().map(|(stream, _)| &*stream.stream_type).collect();
        let ids: Vec<&str> = reads.iter().map(|(stream, _)| &*stream.id).collect();
        let versions: Vec<i64> = reads.iter().map(|(_, version)| *version).collect();
        let names: Vec<&str> = guards.iter().map(|(guard, _)| guard.as_str()).collect();
        let guard_versions: Vec<i64> = guards.iter().map(|(_, version)| *version).collect();
        let row = client.query_one(&statement, &[&types, &ids, &versions, &names, &guard_versions]).await?;
        let contested: i64 = row.try_get(0)?;
        Ok(if contested == 0 { Some(row.try_get(1)?) } else { None })
    }

    /// The version of a guard; 0 if it was never bumped.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn guard_version(&self, name: &str) -> Result<i64, ReadError> {
        let client = self.pool().get().await?;
        let statement = client.prepare_cached("select version from log.guard where name = $1").await?;
        let row = client.query_opt(&statement, &[&name]).await?;
        Ok(row.map(|row| row.try_get(0)).transpose()?.unwrap_or(0))
    }

    /// The connections that read.
    #[must_use]
    pub fn pool(&self) -> &Pool {
        &self.inner.pool
    }

    /// The database of the log.
    pub(super) fn database(&self) -> &Database {
        &self.inner.database
    }

    /// Which log this is, as it was when the handle was opened.
    #[must_use]
    pub fn identity(&self) -> &Head {
        &self.inner.head
    }

    /// Stream types that only Tenure itself may append to.
    #[must_use]
    pub fn reserved_types(&self) -> &'static [&'static str] {
        self.inner.reserved_types
    }

    /// Changes with every commit of any node; a poll is the fallback.
    pub(super) fn wake_ups(&self) -> watch::Receiver<i64> {
        self.inner.wake.subscribe()
    }

    /// Stops the committer once this is the last handle: waits until everything accepted is stored or refused.
    pub async fn close(self) {
        let tasks = self.inner.tasks.clone();
        drop(self);
        tasks.close();
        tasks.wait().await;
    }
}

/// Refuses units that break a limit or contradict themselves, before they wait.
fn check(unit: &Unit) -> Result<(), AppendError> {
    if unit.events.is_empty() {
        return Err(AppendError::Malformed("it holds no event"));
    }
    if unit.events.len() > MAX_UNIT_EVENTS || unit.size_bytes() > MAX_UNIT_BYTES {
        return Err(AppendError::TooLarge);
    }
    let mut versions: std::collections::HashMap<&StreamId, i64> = std::collections::HashMap::new();
    for (stream, version) in &unit.reads {
        if versions.insert(stream, *version).is_some_and(|known| known != *version) {
            return Err(AppendError::Malformed("a stream was read at two versions"));
        }
    }
    for event in &unit.events {
        match versions.get_mut(&event.stream) {
            Some(version) if event.version == *version + 1 => *version += 1,
            Some(_) => {
                return Err(AppendError::Malformed("the versions of a stream do not follow each other"));
            }
            None => {
                return Err(AppendError::Malformed("a stream is written without a version it was read at"));
            }
        }
    }
    Ok(())
}

struct Committer {
    database: Database,
    clock: Arc<dyn Clock>,
    head: Head,
    waiting: mpsc::Receiver<Pending>,
    queue: VecDeque<Pending>,
    session: Option<Session>,
    wake: Arc<watch::Sender<i64>>,
    commits: metrics::Counter,
    events: metrics::Counter,
    batch_units: metrics::Histogram,
    queue_length: metrics::Gauge,
}

impl Committer {
    async fn run(mut self) {
        loop {
            if self.queue.is_empty() {
                match self.waiting.recv().await {
                    Some(pending) => self.queue.push_back(pending),
                    None => break,
                }
            }
            while self.queue.len() < 2 * batch::MAX_BATCH_UNITS {
                match self.waiting.try_recv() {
                    Ok(pending) => self.queue.push_back(pending),
                    Err(_) => break,
                }
            }
            // Nobody waits for these any more, and they have not been sent.
            self.queue.retain(|pending| !pending.answer.is_closed());
            let batch = batch::compose(&mut self.queue);
            #[allow(clippy::cast_precision_loss)]
            self.queue_length.set((self.queue.len() + self.waiting.len()) as f64);
            if !batch.is_empty() {
                self.store(batch).await;
            }
        }
    }

    /// Stores a batch, splitting it where the database refuses the data of a unit.
    async fn store(&mut self, batch: Vec<Pending>) {
        let mut parts = vec![batch];
        while let Some(part) = parts.pop() {
            if let Some((first, second)) = self.store_part(part).await {
                parts.push(second);
                parts.push(first);
            }
        }
    }

    /// Stores units together until each is stored or refused; gives back two halves to be tried apart.
    async fn store_part(&mut self, mut part: Vec<Pending>) -> Option<(Vec<Pending>, Vec<Pending>)> {
        let mut tries = 0;
        while !part.is_empty() {
            let mut session = match self.session.take() {
                Some(session) => session,
                None => match Session::open(&self.database, &self.head).await {
                    Ok(session) => session,
                    Err(error) => {
                        refuse(part, &error);
                        return None;
                    }
                },
            };
            let units: Vec<&Unit> = part.iter().map(Waiting::unit).collect();
            let projection_set = &self.head.projection_set;
            let outcome = transaction::store(&mut session, projection_set, &units, self.clock.now()).await;
            let error = match outcome {
                Ok(stored) => {
                    self.session = Some(session);
                    self.answer(part, stored);
                    return None;
                }
                Err(error) => error,
            };
            tries += 1;
            match error {
                BatchError::Contested(losers) => {
                    self.session = Some(session);
                    part = remove(part, losers);
                    tries = 0;
                }
                BatchError::FenceMoved if tries < MAX_TRIES => {
                    if session.refresh_fence().await.is_ok() {
                        self.session = Some(session);
                    }
                }
                BatchError::TryAgain(reason) if tries < MAX_TRIES => {
                    tracing::warn!(reason, "a batch is sent again");
                    self.session = Some(session);
                }
                BatchError::FenceMoved => {
                    refuse(part, &AppendError::Unavailable("the fence moves without end".to_owned()));
                    return None;
                }
                BatchError::Superseded(set) => {
                    refuse(part, &AppendError::Superseded(set));
                    return None;
                }
                BatchError::Data(code) if part.len() == 1 => {
                    self.session = Some(session);
                    tracing::error!(code, "the database refuses the data of a unit");
                    refuse(part, &AppendError::Refused { code });
                    return None;
                }
                BatchError::Data(_) => {
                    self.session = Some(session);
                    let second = part.split_off(part.len() / 2);
                    return Some((part, second));
                }
                BatchError::TryAgain(reason) | BatchError::Unavailable(reason) => {
                    tracing::error!(reason, "the event log cannot be written to");
                    refuse(part, &AppendError::Unavailable(reason));
                    return None;
                }
                BatchError::Unknown(reason) => {
                    tracing::warn!(reason, "the connection was lost while committing");
                    drop(session);
                    if let Some(stored) = self.resolve(&part).await {
                        self.answer(part, stored);
                        return None;
                    }
                    part.retain(|pending| !pending.answer.is_closed());
                }
            }
        }
        None
    }

    /// Finds out whether a batch was stored, for as long as somebody waits for the answer; meanwhile nothing else is
    /// accepted.
    async fn resolve(&mut self, part: &[Pending]) -> Option<Stored> {
        let first = part.iter().find_map(|pending| pending.unit.events.first())?;
        let mut pause = Duration::from_millis(20);
        loop {
            let error = match Session::open(&self.database, &self.head).await {
                Ok(mut session) => {
                    let (stream, version) = (&first.stream, first.version);
                    match session.resolve(&stream.stream_type, &stream.id, version, first.id).await {
                        Ok(Resolution::Stored { base, recorded_from }) => {
                            self.session = Some(session);
                            return Some(Stored { base, recorded_from });
                        }
                        Ok(Resolution::NotStored) => {
                            self.session = Some(session);
                            return None;
                        }
                        Err(error) => AppendError::Unavailable(reason(&error)),
                    }
                }
                Err(error) => error,
            };
            tracing::warn!(%error, "the outcome of a batch is still unknown");
            while let Ok(pending) = self.waiting.try_recv() {
                self.queue.push_back(pending);
            }
            refuse(self.queue.drain(..), &error);
            if part.iter().all(|pending| pending.answer.is_closed()) {
                // Everybody has been told that the outcome is not known: nobody is left to find it out for, and a
                // process that is to end must not wait for a database that is gone.
                return None;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(1));
        }
    }

    /// Tells the callers where their events are, wakes the followers, and sends away who has lost meanwhile.
    fn answer(&mut self, part: Vec<Pending>, stored: Stored) {
        let units: Vec<&Unit> = part.iter().map(Waiting::unit).collect();
        while self.queue.len() < 2 * batch::MAX_BATCH_UNITS {
            match self.waiting.try_recv() {
                Ok(pending) => self.queue.push_back(pending),
                Err(_) => break,
            }
        }
        let bounced = batch::bounce(&mut self.queue, &units);
        let ordinals = FirstOrdinals::of(&units);
        let events: usize = units.iter().map(|unit| unit.events.len()).sum();
        let newest = stored.base + i64::try_from(events).unwrap_or(0);
        self.commits.increment(1);
        self.events.increment(events as u64);
        #[allow(clippy::cast_precision_loss)]
        self.batch_units.record(part.len() as f64);
        for (place, pending) in part.into_iter().enumerate() {
            let first = ordinals.of_unit(place);
            let count = i64::try_from(pending.unit.events.len()).unwrap_or(1);
            let micros = stored.recorded_from.as_micros() + first - 1;
            let appended = Appended {
                first: stored.base + first,
                last: stored.base + first + count - 1,
                recorded_from: Timestamp::from_micros(micros),
            };
            // Whoever has stopped waiting finds the events in the log.
            let _ = pending.answer.send(Ok(appended));
        }
        for (pending, error) in bounced {
            let _ = pending.answer.send(Err(error));
        }
        self.wake.send_modify(|position| *position = (*position).max(newest));
    }
}

fn refuse(part: impl IntoIterator<Item = Pending>, error: &AppendError) {
    for pending in part {
        let _ = pending.answer.send(Err(error.clone()));
    }
}

/// Answers the losers and keeps the others, in order.
fn remove(part: Vec<Pending>, losers: Vec<(usize, AppendError)>) -> Vec<Pending> {
    let mut losers: std::collections::HashMap<usize, AppendError> = losers.into_iter().collect();
    let mut rest = Vec::with_capacity(part.len());
    for (place, pending) in part.into_iter().enumerate() {
        match losers.remove(&place) {
            Some(error) => {
                let _ = pending.answer.send(Err(error));
            }
            None => rest.push(pending),
        }
    }
    rest
}
