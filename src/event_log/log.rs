//! A handle on the log: hands units to the committer, confirms decisions that write nothing, says which log it is.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use deadpool_postgres::Pool;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::task::TaskTracker;

use super::committer::{Committer, Pending};
use super::error::{AppendError, ReadError};
use super::event::StreamId;
use super::parameters::Reads;
use super::session::{Head, read_head};
use super::unit::{IdempotencyRecord, MAX_UNIT_BYTES, MAX_UNIT_EVENTS, Premises, Unit};
use crate::clock::{Clock, Stopwatch, Timestamp};
use crate::postgres::Database;

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
        let committer = Committer::new(database.clone(), clock, head.clone(), waiting, wake.clone());
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
        self.inner.submissions.try_send(Pending::new(unit, answer)).map_err(|error| match error {
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
    pub async fn confirm(&self, premises: &Premises) -> Result<Option<i64>, ReadError> {
        let client = self.pool().get().await?;
        let sql = "select contested, newest
                   from log.confirm($1::log.stream_read[], $2::log.guard_read[], $3::log.account_read[])";
        let statement = client.prepare_cached(sql).await?;
        let Reads { streams, guards, accounts } = &Reads::of(premises);
        let row = client.query_one(&statement, &[streams, guards, accounts]).await?;
        let contested: i64 = row.try_get(0)?;
        Ok(if contested == 0 { Some(row.try_get(1)?) } else { None })
    }

    /// The newest position that this node knows of, by its own commits or by having read it; `None` if it has neither
    /// committed nor followed yet.
    #[must_use]
    pub fn known_head(&self) -> Option<i64> {
        Some(*self.inner.wake.borrow()).filter(|position| *position > 0)
    }

    /// Notes a position that was read, whoever committed it; wakes nobody.
    pub(super) fn note(&self, position: i64) {
        self.inner.wake.send_if_modified(|known| {
            *known = (*known).max(position);
            false
        });
    }

    /// The version of a guard, to be read before the set that it guards.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn guard_version(&self, name: &str) -> Result<i64, ReadError> {
        let client = self.pool().get().await?;
        let statement = client.prepare_cached("select log.read_guard($1)").await?;
        Ok(client.query_one(&statement, &[&name]).await?.try_get(0)?)
    }

    /// The request with this key and the position that it led to, if it was carried out less than a day ago.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn carried_out(
        &self,
        request: &[u8; 32],
        now: Timestamp,
    ) -> Result<Option<(IdempotencyRecord, i64)>, ReadError> {
        let client = self.pool().get().await?;
        let sql = "select body, answer, position from log.idempotency
                   where request = $1 and recorded_at > $2::timestamptz - interval '1 day'";
        let statement = client.prepare_cached(sql).await?;
        let Some(row) = client.query_opt(&statement, &[&request.as_slice(), &now]).await? else {
            return Ok(None);
        };
        let damaged = |_| ReadError::Unavailable("a record of an idempotency key is damaged".into());
        let body = row.try_get::<_, &[u8]>(0)?.try_into().map_err(damaged)?;
        let answer = Bytes::copy_from_slice(row.try_get(1)?);
        Ok(Some((IdempotencyRecord { request: *request, body, answer }, row.try_get(2)?)))
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
    for read in &unit.premises.streams {
        if versions.insert(&read.stream, read.version).is_some_and(|known| known != read.version) {
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
