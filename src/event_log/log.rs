//! The handle on the log: submits units to the committer, confirms decisions that write nothing, reads log records.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::checkpoint::{Checkpoint, PositionToken};
use super::committer::{Committer, Pending};
use super::drain::{Drain, Draining};
use super::error::{AppendError, ReadError};
use super::event::StreamId;
use super::limits::{MAX_UNIT_BYTES, MAX_UNIT_EVENTS};
use super::own_appends::OwnAppends;
use super::parameters::Reads;
use super::primary::Primary;
use super::probe::{NotReady, Probe};
use super::seen::{Head, SeenLog};
use super::shared_reader::SharedReader;
use super::unit::{Appended, IdempotencyRecord, Premises, Unit};
use crate::clock::{Clock, Stopwatch, Timestamp};
use crate::entropy::Entropy;
use crate::ids::LogId;
use crate::postgres::Database;

/// Default time that a caller waits for the outcome of an append; slightly longer than the committer waits for the
/// database.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// Settings of the log.
pub struct Options {
    /// Maximum number of connections for reading.
    pub connections: usize,
    /// How many units may wait to be taken by the committer; further ones are refused as [`AppendError::Busy`].
    pub queue: usize,
    /// How long a caller waits for an outcome before it gets [`AppendError::OutcomeUnknown`].
    pub answer_within: Duration,
    /// The set of projections that this release maintains.
    pub projection_set: String,
    /// Stream types that only Tenure itself may append to.
    pub reserved_types: &'static [&'static str],
}

impl Options {
    /// The defaults, with this projection set and these reserved stream types.
    #[must_use]
    pub const fn new(projection_set: String, reserved_types: &'static [&'static str]) -> Self {
        Self { connections: 16, queue: 4_096, answer_within: ANSWER_TIMEOUT, projection_set, reserved_types }
    }
}

/// How many expired idempotency records one statement removes.
const REQUESTS_A_SWEEP: i64 = 2_000;

/// Which upgrade steps are done that need the application and not only SQL.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UpgradesDone {
    /// Users and accounts with ambiguous names have been renamed.
    pub names_checked: bool,
    /// Names in invites of version 1 have been sealed under the data keys of the invited users.
    pub invites_resealed: bool,
}

/// A handle on the log; clones share the committer, the connection pool and the wake-ups of followers.
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
    /// One connection for this node's row in `log.node`: a node whose readers keep every connection of the pool busy must not be taken for
    /// dead.
    heartbeat: Primary,
    shared_reader: Arc<SharedReader>,
    own_appends: Arc<OwnAppends>,
    probe: Probe,
    seen: Arc<SeenLog>,
    tasks: TaskTracker,
    closing: CancellationToken,
    drain: Drain,
    /// Since this node's row in `log.node` was last renewed; `None` for a process that has no row.
    row_renewed: Mutex<Option<Stopwatch>>,
    latency: metrics::Histogram,
}

impl EventLog {
    /// Opens the log at this head and starts its committer. Followers poll until [`EventLog::join`].
    ///
    /// # Errors
    /// [`ReadError::Unavailable`] if the connection pool cannot be created.
    pub fn open(
        database: Database,
        head: &Head,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        options: Options,
    ) -> Result<Self, ReadError> {
        let seen = Arc::new(SeenLog::new(head, entropy));
        let primary = Primary::new(database.clone(), "tenure", seen.clone(), options.connections)?;
        let heartbeat = Primary::new(database.clone(), "tenure heartbeat", seen.clone(), 1)?;
        let own_appends = Arc::new(OwnAppends::default());
        let (submissions, waiting) = mpsc::channel(options.queue);
        let (tasks, closing) = (TaskTracker::new(), CancellationToken::new());
        // Appends compare this release's own set, not the stored one, so that a superseded node notices at its first
        // append.
        let projection_set = options.projection_set;
        let committer = Committer::new(
            database.clone(),
            clock.clone(),
            projection_set.clone(),
            waiting,
            closing.clone(),
            seen.clone(),
            own_appends.clone(),
        );
        tasks.spawn(committer.run());
        let latency = metrics::histogram!("tenure_append_seconds");
        let inner = Inner {
            submissions,
            answer_within: options.answer_within,
            reserved_types: options.reserved_types,
            probe: Probe::new(database.clone(), clock, seen.clone(), projection_set.clone()),
            projection_set,
            database,
            shared_reader: Arc::new(SharedReader::new(primary.clone(), seen.log_id())),
            own_appends,
            primary,
            heartbeat,
            seen,
            tasks,
            closing,
            drain: Drain::new(),
            row_renewed: Mutex::default(),
            latency,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Stores a unit whole or not at all; returns once it is durable.
    ///
    /// # Errors
    /// See [`AppendError`]; only [`AppendError::OutcomeUnknown`] leaves open whether the unit was stored.
    pub async fn append(&self, unit: Unit) -> Result<Appended, AppendError> {
        check(&unit)?;
        let _accepted = self.inner.drain.accept().map_err(AppendError::Superseded)?;
        let (answer, answered) = oneshot::channel();
        let watch = Stopwatch::start();
        // Refuses at once when the queue is full: waiting callers would only pile up behind a slow database.
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

    /// Confirms a decision that writes nothing: the newest place if everything that it read is still current, otherwise
    /// `None`.
    ///
    /// # Errors
    /// [`ReadError::Unavailable`]
    pub async fn confirm(&self, premises: &Premises) -> Result<Option<Checkpoint>, ReadError> {
        let sql = "select contested
                   from log.confirm($1::log.stream_read[], $2::log.guard_read[], $3::log.account_read[])";
        let Reads { streams, guards, accounts } = &Reads::of(premises);
        let answer = self.primary().query(sql, &[streams, guards, accounts]).await?;
        // No row would confirm nothing, so it counts as contested.
        let contested: i64 = answer.rows.first().map_or(Ok(1), |row| row.try_get(0))?;
        // State of an earlier epoch may rest on events that were lost with it.
        let is_current = premises.epoch.is_none_or(|epoch| epoch == answer.epoch);
        Ok((contested == 0 && is_current).then(|| answer.checkpoint(self.log_id())))
    }

    /// What this node has seen of the log.
    #[must_use]
    pub fn seen(&self) -> &SeenLog {
        &self.inner.seen
    }

    /// The place of a position token from a caller: it must be of this epoch and not beyond the newest event.
    ///
    /// # Errors
    /// [`ReadError::LogReplaced`], [`ReadError::BeyondHead`] or [`ReadError::Unavailable`].
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

    /// The version of a guard; read it before the set that it guards, so that a change in between is noticed.
    ///
    /// # Errors
    /// [`ReadError::Unavailable`]
    pub async fn guard_version(&self, name: &str) -> Result<i64, ReadError> {
        let row = self.primary().row("select log.read_guard($1)", &[&name]).await?;
        let row =
            row.ok_or_else(|| ReadError::Unavailable("the database returned no version of a guard".into()))?;
        Ok(row.try_get(0)?)
    }

    /// The record of a request with an idempotency key, and the place of its last event, if it was carried out less
    /// than a day ago.
    ///
    /// # Errors
    /// [`ReadError::Unavailable`]
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
        let damaged = |_| ReadError::Unavailable("the record of an idempotency key is damaged".into());
        let body = row.try_get::<_, &[u8]>(0)?.try_into().map_err(damaged)?;
        let answer = Bytes::copy_from_slice(row.try_get(1)?);
        Ok(Some((IdempotencyRecord { request: *request, body, answer }, place)))
    }

    /// Removes expired idempotency records, at most 2,000, without the head lock. Returns the time to start the next
    /// sweep from, and whether more may be left.
    ///
    /// # Errors
    /// [`ReadError::Unavailable`]
    pub async fn sweep_requests(
        &self,
        from: Timestamp,
        now: Timestamp,
    ) -> Result<(Timestamp, bool), ReadError> {
        // Starts where the last sweep ended: while an old snapshot is open elsewhere, the index still has the rows that
        // were deleted before, and every sweep would walk over them. `skip locked`, because every node sweeps.
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

    /// Drops the schemas that rebuilds of the projections have left, unless somebody still reads them or a rebuild is
    /// running. Returns those that stay, and why.
    ///
    /// # Errors
    /// [`ReadError::Unavailable`]
    pub async fn drop_leftover_schemas(&self) -> Result<Vec<(String, String)>, ReadError> {
        // Looks first: usually there are none, and then nothing is written.
        let sql = "select exists (select from pg_namespace where nspname like 'view\\_retired\\_%' or nspname like 'view\\_next\\_%')
                       or exists (select from log.head where next_projection_set is not null)";
        let row = self.primary().row(sql, &[]).await?;
        if !row.map_or(Ok(false), |row| row.try_get(0))? {
            return Ok(Vec::new());
        }
        // In a `with` clause: it is not repeated if the connection is lost.
        let with = "stays as materialized (select schema_name, reason from log.drop_leftover_schemas())";
        let rows = self.primary().ask(with, "select schema_name, reason from stays", &[]).await?.rows;
        Ok(rows
            .iter()
            .map(|row| Ok((row.try_get(0)?, row.try_get(1)?)))
            .collect::<Result<_, tokio_postgres::Error>>()?)
    }

    /// Drops the schemas with tables as they were that have expired, or that hold what was forgotten since. Returns those that
    /// somebody still reads, and why they go.
    ///
    /// # Errors
    /// [`ReadError::Unavailable`]
    pub async fn sweep_as_of_schemas(&self) -> Result<Vec<(String, String)>, ReadError> {
        let sql = "select 1 from log.as_of_schema where ended_at is null limit 1";
        if self.primary().row(sql, &[]).await?.is_none() {
            return Ok(Vec::new());
        }
        // In a `with` clause: it is not repeated if the connection is lost.
        let with = "stays as materialized (select schema_name, reason from log.sweep_as_of_schemas())";
        let rows = self.primary().ask(with, "select schema_name, reason from stays", &[]).await?.rows;
        Ok(rows
            .iter()
            .map(|row| Ok((row.try_get(0)?, row.try_get(1)?)))
            .collect::<Result<_, tokio_postgres::Error>>()?)
    }

    /// The upgrade steps that are done in this log.
    ///
    /// # Errors
    /// [`ReadError::Unavailable`]
    pub async fn upgrades_done(&self) -> Result<UpgradesDone, ReadError> {
        let row = self.primary().row("select names_checked, invites_resealed from log.head", &[]).await?;
        let Some(row) = row else { return Ok(UpgradesDone::default()) };
        Ok(UpgradesDone { names_checked: row.try_get(0)?, invites_resealed: row.try_get(1)? })
    }

    /// Records that all upgrade steps are done.
    ///
    /// # Errors
    /// [`ReadError::Unavailable`]
    pub async fn record_upgrades_done(&self) -> Result<(), ReadError> {
        let sql = "update log.head set names_checked = true, invites_resealed = true
                   where not (names_checked and invites_resealed)";
        self.primary().execute(sql, &[]).await?;
        Ok(())
    }

    /// The pool for queries of the primary.
    #[must_use]
    pub fn primary(&self) -> &Primary {
        &self.inner.primary
    }

    /// Has queries planned again once tables have grown, for ever.
    pub(crate) async fn keep_planning(&self) -> std::convert::Infallible {
        super::growth::watch(self.primary(), self.inner.seen.plans()).await
    }

    /// The connection for this node's row in `log.node`.
    pub(super) fn heartbeat(&self) -> &Primary {
        &self.inner.heartbeat
    }

    /// Listens for the commits of other nodes, until the log is closed.
    pub(super) fn listen(&self) {
        // The listener holds a weak reference, so that it ends when the last handle is dropped.
        let Inner { database, seen, closing, .. } = &*self.inner;
        let listening = super::listen::listen(database.clone(), Arc::downgrade(seen.wake()));
        tokio::spawn(closing.clone().run_until_cancelled_owned(listening));
    }

    pub(super) fn row_renewed(&self) -> &Mutex<Option<Stopwatch>> {
        &self.inner.row_renewed
    }

    pub(super) fn drain(&self) -> &Drain {
        &self.inner.drain
    }

    /// The database that contains the log.
    pub(crate) fn database(&self) -> &Database {
        &self.inner.database
    }

    /// The identity of the log.
    #[must_use]
    pub fn log_id(&self) -> LogId {
        self.inner.seen.log_id()
    }

    /// The set of projections that this process maintains.
    #[must_use]
    pub fn projection_set(&self) -> &str {
        &self.inner.projection_set
    }

    /// The newest place, if this node can serve at the moment.
    ///
    /// # Errors
    /// [`NotReady`] says why it cannot.
    pub async fn ready(&self) -> Result<Checkpoint, NotReady> {
        // The committer ends only when the log is closed, or because of a bug.
        if self.inner.submissions.is_closed() {
            return Err(NotReady::Stopped);
        }
        let newest = self.inner.probe.ask().await?;
        if let Some(since) = self.stores_nothing_for() {
            return Err(NotReady::NotStoring(since));
        }
        match self.draining() {
            Draining::No => Ok(newest),
            Draining::Announced(set) | Draining::Refusing(set) => Err(NotReady::Draining(set)),
        }
    }

    /// Stream types that only Tenure itself may append to.
    #[must_use]
    pub fn reserved_types(&self) -> &'static [&'static str] {
        self.inner.reserved_types
    }

    /// Reads the log for the subscribers of this process.
    #[must_use]
    pub fn shared_reader(&self) -> &Arc<SharedReader> {
        &self.inner.shared_reader
    }

    /// What this node has written, for its own follower.
    pub(super) fn own_appends(&self) -> &OwnAppends {
        &self.inner.own_appends
    }

    /// Cancelled once the log is being closed.
    #[must_use]
    pub fn closing(&self) -> &CancellationToken {
        &self.inner.closing
    }

    /// The tasks that [`EventLog::close`] waits for.
    #[must_use]
    pub fn tasks(&self) -> &TaskTracker {
        &self.inner.tasks
    }

    /// Signals commits of all nodes; signals may be missed, so readers poll as well.
    pub(crate) fn wake_ups(&self) -> watch::Receiver<i64> {
        self.inner.seen.wake().subscribe()
    }

    /// Refuses new units as [`AppendError::Closed`] and waits until every accepted unit is stored or refused, even if
    /// other handles remain.
    pub async fn close(&self) {
        self.inner.closing.cancel();
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
    }
}

/// Refuses units that exceed a limit or contradict themselves, before they are queued.
fn check(unit: &Unit) -> Result<(), AppendError> {
    if unit.events.is_empty() {
        return Err(AppendError::Malformed("it has no events"));
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
    // A stream that is written must be among the premises: its version is what the unique key checks.
    for event in &unit.events {
        match versions.get_mut(&event.stream) {
            Some(version) if event.version == *version + 1 => *version += 1,
            Some(_) => {
                return Err(AppendError::Malformed("the versions of a stream are not consecutive"));
            }
            None => {
                return Err(AppendError::Malformed("a stream is written that was not read"));
            }
        }
    }
    Ok(())
}
