//! A handle on the log: hands units to the committer, confirms decisions that write nothing, says which log it is.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::checkpoint::{Checkpoint, PositionToken};
use super::committer::{Committer, Pending};
use super::error::{AppendError, ReadError};
use super::event::StreamId;
use super::limits::{MAX_UNIT_BYTES, MAX_UNIT_EVENTS};
use super::parameters::Reads;
use super::primary::Primary;
use super::probe::{NotReady, Probe};
use super::seen::{Head, SeenLog};
use super::unit::{Appended, IdempotencyRecord, Premises, Unit};
use crate::clock::{Clock, Stopwatch, Timestamp};
use crate::entropy::Entropy;
use crate::ids::LogId;
use crate::postgres::Database;

/// How long a caller waits for the outcome of an append, if nothing else is set: a little longer than the committer
/// waits for the database.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// How the log is opened.
pub struct Options {
    /// The most connections that read.
    pub connections: usize,
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
        Self { connections: 16, queue: 4_096, answer_within: ANSWER_TIMEOUT, projection_set, reserved_types }
    }
}

/// How many requests that are over one statement removes.
const REQUESTS_A_SWEEP: i64 = 2_000;

/// Steps of upgrades that need the application, not SQL alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UpgradesDone {
    /// Users and accounts with ambiguous names have been renamed.
    pub names_checked: bool,
    /// Names in invites of version 1 have been sealed under the keys of their people.
    pub invites_resealed: bool,
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
    projection_set: String,
    database: Database,
    primary: Primary,
    probe: Probe,
    seen: Arc<SeenLog>,
    tasks: TaskTracker,
    closing: CancellationToken,
    latency: metrics::Histogram,
}

impl EventLog {
    /// Opens the log with this head and starts its committer and its listener.
    ///
    /// # Errors
    /// The pool of connections cannot be made.
    pub fn open(
        database: Database,
        head: &Head,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        options: Options,
    ) -> Result<Self, ReadError> {
        let seen = Arc::new(SeenLog::new(head, entropy));
        let primary = Primary::new(database.clone(), seen.clone(), options.connections)?;
        let (submissions, waiting) = mpsc::channel(options.queue);
        let (tasks, closing) = (TaskTracker::new(), CancellationToken::new());
        // The release's own set is what its appends compare, so that a superseded node finds out at its first.
        let projection_set = options.projection_set;
        let committer = Committer::new(
            database.clone(),
            clock,
            projection_set.clone(),
            waiting,
            closing.clone(),
            seen.clone(),
        );
        tasks.spawn(committer.run());
        let listening = super::listen::listen(database.clone(), Arc::downgrade(seen.wake()));
        tokio::spawn(closing.clone().run_until_cancelled_owned(listening));
        let latency = metrics::histogram!("tenure_append_seconds");
        let inner = Inner {
            submissions,
            answer_within: options.answer_within,
            reserved_types: options.reserved_types,
            probe: Probe::new(database.clone(), seen.clone(), projection_set.clone()),
            projection_set,
            database,
            primary,
            seen,
            tasks,
            closing,
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
    pub async fn confirm(&self, premises: &Premises) -> Result<Option<Checkpoint>, ReadError> {
        let sql = "select contested
                   from log.confirm($1::log.stream_read[], $2::log.guard_read[], $3::log.account_read[])";
        let Reads { streams, guards, accounts } = &Reads::of(premises);
        let answer = self.primary().query(sql, &[streams, guards, accounts]).await?;
        let contested: i64 = answer.rows.first().map_or(Ok(1), |row| row.try_get(0))?;
        let is_current = premises.epoch.is_none_or(|epoch| epoch == answer.epoch);
        Ok((contested == 0 && is_current).then(|| answer.checkpoint(self.log_id())))
    }

    /// What this node has seen of the log.
    #[must_use]
    pub fn seen(&self) -> &SeenLog {
        &self.inner.seen
    }

    /// The place of a position that a caller brings back: of this epoch, and not beyond the newest event.
    ///
    /// # Errors
    /// [`ReadError::LogReplaced`], [`ReadError::BeyondHead`], or the log cannot be read.
    pub async fn place(&self, token: PositionToken) -> Result<Checkpoint, ReadError> {
        let sql = "select (select event_id from log.event where position = $1)";
        let answer = self.primary().query(sql, &[&token.position]).await?;
        let event_id: Option<crate::ids::EventId> =
            answer.rows.first().map_or(Ok(None), |row| row.try_get(0))?;
        let event_id = event_id.unwrap_or(crate::ids::EventId::NIL);
        let PositionToken { epoch, position } = token;
        let place = Checkpoint { log_id: self.log_id(), epoch, position, event_id };
        if epoch != answer.epoch {
            return Err(ReadError::LogReplaced { from: place, epoch: answer.epoch });
        }
        if position > answer.position {
            return Err(ReadError::BeyondHead { from: place, newest: answer.position });
        }
        Ok(place)
    }

    /// The version of a guard, to be read before the set that it guards.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn guard_version(&self, name: &str) -> Result<i64, ReadError> {
        let row = self.primary().row("select log.read_guard($1)", &[&name]).await?;
        let row = row.ok_or_else(|| ReadError::Unavailable("a guard gives no version".into()))?;
        Ok(row.try_get(0)?)
    }

    /// The request with this key and the position that it led to, if it was carried out less than a day ago.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn completed_request(
        &self,
        request: &[u8; 32],
        now: Timestamp,
    ) -> Result<Option<(IdempotencyRecord, Checkpoint)>, ReadError> {
        let sql = "select i.body, i.answer, i.position, e.event_id
                   from log.idempotency i join log.event e on e.position = i.position
                   where i.request = $1 and i.recorded_at > $2::timestamptz - interval '1 day'";
        let answer = self.primary().query(sql, &[&request.as_slice(), &now]).await?;
        let Some(row) = answer.rows.first() else {
            return Ok(None);
        };
        let (log_id, epoch) = (self.log_id(), answer.epoch);
        let place = Checkpoint { log_id, epoch, position: row.try_get(2)?, event_id: row.try_get(3)? };
        let damaged = |_| ReadError::Unavailable("a record of an idempotency key is damaged".into());
        let body = row.try_get::<_, &[u8]>(0)?.try_into().map_err(damaged)?;
        let answer = Bytes::copy_from_slice(row.try_get(1)?);
        Ok(Some((IdempotencyRecord { request: *request, body, answer }, place)))
    }

    /// Removes requests that are over, a few thousand at a time and outside the head lock; gives the newest time that
    /// it has looked at, from where the next sweep goes on, and whether more may be left.
    ///
    /// # Errors
    /// The database cannot be written to.
    pub async fn sweep_requests(
        &self,
        from: Timestamp,
        now: Timestamp,
    ) -> Result<(Timestamp, bool), ReadError> {
        // From where the last sweep ended: a long snapshot elsewhere keeps the dead rows before that in the index.
        let with = "gone as (
                        delete from log.idempotency where request in (
                            select o.request from log.idempotency o
                            where o.recorded_at >= $1 and o.recorded_at <= $2::timestamptz - interval '1 day'
                            order by o.recorded_at limit $3 for update skip locked)
                        returning recorded_at)";
        let limit = REQUESTS_A_SWEEP;
        let answer = self
            .primary()
            .ask(with, "select count(*), max(recorded_at) from gone", &[&from, &now, &limit])
            .await?;
        let Some(row) = answer.rows.first() else { return Ok((from, false)) };
        let (count, newest): (i64, Option<Timestamp>) = (row.try_get(0)?, row.try_get(1)?);
        Ok((newest.unwrap_or(from), count == limit))
    }

    /// Which of the steps that need the application, not SQL alone, this log has behind it.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn upgrades_done(&self) -> Result<UpgradesDone, ReadError> {
        let row = self.primary().row("select names_checked, invites_resealed from log.head", &[]).await?;
        let Some(row) = row else { return Ok(UpgradesDone::default()) };
        Ok(UpgradesDone { names_checked: row.try_get(0)?, invites_resealed: row.try_get(1)? })
    }

    /// Records that all of them are done.
    ///
    /// # Errors
    /// The database cannot be written to.
    pub async fn record_upgrades_done(&self) -> Result<(), ReadError> {
        let sql = "update log.head set names_checked = true, invites_resealed = true
                   where not (names_checked and invites_resealed)";
        self.primary().execute(sql, &[]).await?;
        Ok(())
    }

    /// Questions to the primary.
    #[must_use]
    pub fn primary(&self) -> &Primary {
        &self.inner.primary
    }

    /// The database of the log.
    pub(super) fn database(&self) -> &Database {
        &self.inner.database
    }

    /// Which log this is.
    #[must_use]
    pub fn log_id(&self) -> LogId {
        self.inner.seen.log_id()
    }

    /// The set of projections that this process maintains.
    #[must_use]
    pub fn projection_set(&self) -> &str {
        &self.inner.projection_set
    }

    /// The newest place, if this node can serve at present.
    ///
    /// # Errors
    /// See [`NotReady`]
    pub async fn ready(&self) -> Result<Checkpoint, NotReady> {
        // The committer ends when the log is closed, or by a fault of this program.
        if self.inner.submissions.is_closed() {
            return Err(NotReady::Stopped);
        }
        self.inner.probe.ask().await
    }

    /// Stream types that only Tenure itself may append to.
    #[must_use]
    pub fn reserved_types(&self) -> &'static [&'static str] {
        self.inner.reserved_types
    }

    /// Changes with every commit of any node; a poll is the fallback.
    pub(super) fn wake_ups(&self) -> watch::Receiver<i64> {
        self.inner.seen.wake().subscribe()
    }

    /// Refuses new units as [`AppendError::Closed`], and waits until everything accepted is stored or refused, whoever else
    /// has a handle.
    pub async fn close(&self) {
        self.inner.closing.cancel();
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
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
    unit.check_events()?;
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
