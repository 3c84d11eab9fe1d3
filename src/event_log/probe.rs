//! The readiness probe: checks whether this node can serve. It has a connection of its own, so that a busy pool does
//! not count as an outage.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_postgres::Row;
use tokio_postgres::error::SqlState;

use super::checkpoint::Checkpoint;
use super::drain::announced;
use super::error::{AppendError, PrimaryError};
use super::seen::{Seen, SeenLog, ServerIdentity, WAL_FILE, timeline};
use crate::clock::{Clock, Timestamp};
use crate::ids::EventId;
use crate::postgres::{ConnectError, Connection, Database, NEEDED};

/// How long a probe may take. A connection that is not open by then is opened further, for the next probes: on a machine
/// so busy that this takes longer, no node would become ready again otherwise.
pub const PROBE_TIMEOUT: Duration = Duration::from_secs(1);

/// How long opening the probe's connection may take.
const OPEN_TIMEOUT: Duration = Duration::from_secs(5);

/// How many connections may be about to open. Each probe without a connection begins another one, because the address may
/// lead elsewhere by now, and takes the first to open.
const MOST_OPENING: usize = 5;

/// Settings of the probe's connection; the server's timeouts are slightly shorter than [`PROBE_TIMEOUT`].
const SETTINGS: &str =
    "set statement_timeout = '900ms'; set lock_timeout = '900ms'; set plan_cache_mode = force_generic_plan;
                        set enable_seqscan = off;";

/// Selects the state that [`Probe::judge`] reads.
fn state() -> String {
    let announced = announced();
    format!(
        "select pg_is_in_recovery(), current_setting('transaction_read_only') <> 'off', ({NEEDED}), h.projection_set, h.epoch,
                n.position, n.event_id, {announced}, case when not pg_is_in_recovery() then {WAL_FILE} end, clock_timestamp()
         from log.head h
         left join lateral (select position, event_id from log.event order by position desc limit 1) n on true"
    )
}

/// Why a node cannot serve at the moment.
#[derive(Debug, thiserror::Error)]
pub enum NotReady {
    /// The database does not answer, or it returned an error.
    #[error("PostgreSQL cannot be reached: {0}")]
    Unreachable(String),
    /// The address of the database leads to a replica.
    #[error("PostgreSQL is a replica; name the primary")]
    Replica,
    /// The database is read-only.
    #[error("PostgreSQL is read-only")]
    ReadOnly,
    /// The database role may not insert into `log.event`.
    #[error("the database role may not write to the log")]
    MayNotWrite,
    /// Another release has replaced the projections by this set.
    #[error("the projections have been replaced by set {0}; start the release that made it")]
    Superseded(String),
    /// Another release is about to replace the projections by this set; this node stops writing.
    #[error("another release is about to replace the projections by set {0}")]
    Draining(String),
    /// The database lacks events that this node has seen, or contains another log or none.
    #[error("{0}")]
    Stale(String),
    /// This machine's clock is too far from the database server's, so every write is refused.
    #[error(transparent)]
    Clock(AppendError),
    /// The database answers, but has not stored this node's row in `log.node` for so long.
    #[error("PostgreSQL answers, but has stored nothing for {} s", .0.as_secs())]
    NotStoring(Duration),
    /// New data keys are wrapped with a master key that this node lacks, so new people and accounts are refused.
    #[error("the log is sealed with the master key {0}, which this node lacks")]
    LacksKey(String),
    /// The committer has ended.
    #[error("this process has stopped storing events; restart it")]
    Stopped,
}

impl NotReady {
    /// A message for anonymous clients: without addresses and without the server's own messages.
    #[must_use]
    pub const fn advice(&self) -> &'static str {
        match self {
            Self::Unreachable(_) => {
                "PostgreSQL does not answer or returns errors; see the log output of this process"
            }
            Self::Replica => "the address of the database leads to a replica; use the address of the primary",
            Self::ReadOnly => "the database is read-only; turn default_transaction_read_only off",
            Self::MayNotWrite => {
                "the database role may not write to the log; run `tenure migrate` to grant what is missing"
            }
            Self::Superseded(_) => "another release has replaced the projections; start that release",
            Self::Draining(_) => {
                "another release is about to replace the projections; send requests to its nodes once they are ready"
            }
            Self::Stale(_) => {
                "the database lacks events that this node has seen, or holds another log: restore them, or run \
                 `tenure log new-epoch --yes` to continue without them"
            }
            Self::Clock(_) => {
                "the clock of this machine and that of the database server differ by more than 5 s; set both by NTP"
            }
            Self::NotStoring(_) => {
                "PostgreSQL answers but stores nothing: look for a synchronous standby that is gone, a full disk, or a lock on log.node"
            }
            Self::LacksKey(_) => {
                "the master key was replaced and this node lacks the new one; its log output names the file to put it in"
            }
            Self::Stopped => "this process has stopped storing events; restart it",
        }
    }

    /// Whether a new connection could not help.
    const fn keeps_connection(&self) -> bool {
        matches!(self, Self::Draining(_) | Self::Superseded(_) | Self::Clock(_))
    }

    /// The stable code of the reason.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Unreachable(_) => "unreachable",
            Self::Replica => "replica",
            Self::ReadOnly => "read_only",
            Self::MayNotWrite => "may_not_write",
            Self::Superseded(_) => "superseded",
            Self::Draining(_) => "draining",
            Self::Stale(_) => "stale",
            Self::Clock(_) => "clock",
            Self::NotStoring(_) => "not_storing",
            Self::LacksKey(_) => "lacks_key",
            Self::Stopped => "stopped",
        }
    }
}

impl From<PrimaryError> for NotReady {
    fn from(error: PrimaryError) -> Self {
        match error {
            PrimaryError::Connect(ConnectError::Replica { .. }) => Self::Replica,
            PrimaryError::Connect(ConnectError::ReadOnly { .. }) => Self::ReadOnly,
            PrimaryError::AnotherLog { .. } | PrimaryError::LostEvents { .. } | PrimaryError::NoLog => {
                Self::Stale(error.to_string())
            }
            error => Self::Unreachable(error.to_string()),
        }
    }
}

/// What a server reports, and when it was asked and had answered by this machine's clock.
struct Answer {
    row: Row,
    asked: Timestamp,
    answered: Timestamp,
}

impl Answer {
    /// The smallest offset of this machine's clock from the server's, in seconds, that the answer allows; positive if it is ahead.
    /// The server's clock was read between `asked` and `answered`, so a slow answer is no offset.
    fn least_offset(&self, server: Timestamp) -> f64 {
        let (ahead, behind) = (self.asked.seconds_since(server), self.answered.seconds_since(server));
        if ahead > 0.0 { ahead } else { behind.min(0.0) }
    }
}

/// The probe's connection, with the server behind it.
type Kept = (Connection, ServerIdentity);

/// Checks whether this node can serve.
pub struct Probe {
    database: Database,
    clock: Arc<dyn Clock>,
    seen: Arc<SeenLog>,
    projection_set: String,
    /// The query for the state of the server.
    state: String,
    place: Mutex<Place>,
}

#[derive(Default)]
struct Place {
    /// `None` until a connection is open, and after a failure.
    kept: Option<Kept>,
    opening: JoinSet<(u64, Result<Kept, NotReady>)>,
    /// How many attempts have begun, which numbers them.
    begun: u64,
}

impl Place {
    /// Keeps a connection that has opened since the last probe, and gives the others up. An attempt that has failed since says nothing
    /// of now.
    fn collect(&mut self) {
        while let Some(ended) = self.opening.try_join_next() {
            if let Ok((_, Ok(kept))) = ended {
                self.kept = Some(kept);
                self.opening = JoinSet::new();
            }
        }
    }

    /// Begins to open another connection, unless many are about to open.
    fn begin(&mut self, database: Database, seen: Arc<SeenLog>) {
        if self.opening.len() < MOST_OPENING {
            self.begun += 1;
            let number = self.begun;
            self.opening.spawn(async move { (number, open(database, seen).await) });
        }
    }

    /// The first connection to open; the others are given up. The failure of an attempt other than the newest says nothing of the
    /// address as it is now.
    async fn opened(&mut self) -> Result<Kept, NotReady> {
        while let Some(ended) = self.opening.join_next().await {
            match ended {
                Ok((_, Ok(kept))) => {
                    self.opening = JoinSet::new();
                    return Ok(kept);
                }
                Ok((number, Err(error))) if number == self.begun => return Err(error),
                Ok((_, Err(_))) => {}
                Err(error) => return Err(NotReady::Unreachable(error.to_string())),
            }
        }
        Err(PrimaryError::TimedOut(PROBE_TIMEOUT).into())
    }
}

impl Probe {
    pub(super) fn new(
        database: Database,
        clock: Arc<dyn Clock>,
        seen: Arc<SeenLog>,
        projection_set: String,
    ) -> Self {
        Self { database, clock, seen, projection_set, state: state(), place: Mutex::default() }
    }

    /// The newest place in the log, if this node can serve; takes no longer than [`PROBE_TIMEOUT`].
    ///
    /// # Errors
    /// [`NotReady`] says why it cannot.
    pub async fn ask(&self) -> Result<Checkpoint, NotReady> {
        // One probe at a time, because all share one connection.
        let mut place = self.place.lock().await;
        let asked = timeout(PROBE_TIMEOUT, self.ask_in(&mut place)).await;
        asked.unwrap_or_else(|_| Err(PrimaryError::TimedOut(PROBE_TIMEOUT).into()))
    }

    async fn ask_in(&self, place: &mut Place) -> Result<Checkpoint, NotReady> {
        place.collect();
        // Before the query: the answer must show this, but not what other tasks see in the meantime.
        let seen = self.seen.get();
        // Taken out during the query: a connection that failed, or did not answer in time, is not used again.
        if let Some((connection, server)) = place.kept.take()
            && server == seen.server
            && let Ok(answer) = self.state(&connection).await
        {
            let judged = self.judge(&answer, &seen, server);
            if judged.as_ref().map_or_else(NotReady::keeps_connection, Option::is_some) {
                place.kept = Some((connection, server));
            }
            if let Some(checkpoint) = judged? {
                return Ok(checkpoint);
            }
        }
        place.begin(self.database.clone(), self.seen.clone());
        let opened = place.opened().await?;
        // Kept also if there is no time left for the query: the next probe tries it once more.
        let (connection, server) = place.kept.insert(opened);
        // Read again, because opening may have taken this node to a new epoch.
        let seen = self.seen.get();
        let answer = self.state(connection).await;
        let judged = answer.map_err(unanswered).and_then(|answer| self.judge(&answer, &seen, *server));
        let checkpoint = judged.inspect_err(|error| {
            if !error.keeps_connection() {
                place.kept = None;
            }
        })?;
        checkpoint.ok_or_else(|| NotReady::Stale("the epoch of the log is changing".to_owned()))
    }

    /// Asks a server for its state.
    async fn state(&self, connection: &Connection) -> Result<Answer, tokio_postgres::Error> {
        let asked = self.clock.now();
        let row = connection.client.query_one(&self.state, &[]).await?;
        Ok(Answer { row, asked, answered: self.clock.now() })
    }

    /// Judges the state that a server reports; `None` if a new connection has to check the server again.
    fn judge(
        &self,
        answer: &Answer,
        seen: &Seen,
        server: ServerIdentity,
    ) -> Result<Option<Checkpoint>, NotReady> {
        let row = &answer.row;
        let state = || -> Result<_, tokio_postgres::Error> {
            Ok((
                (row.try_get::<_, bool>(0)?, row.try_get::<_, bool>(1)?, row.try_get::<_, bool>(2)?),
                (row.try_get::<_, String>(3)?, row.try_get::<_, Option<String>>(7)?),
                row.try_get::<_, Option<&str>>(8)?.and_then(timeline),
                Checkpoint {
                    log_id: self.seen.log_id(),
                    epoch: row.try_get(4)?,
                    position: row.try_get::<_, Option<i64>>(5)?.unwrap_or(0),
                    event_id: row.try_get::<_, Option<EventId>>(6)?.unwrap_or(EventId::NIL),
                },
            ))
        };
        let ((in_recovery, read_only, may_write), (set, announced), timeline, newest) =
            state().map_err(PrimaryError::from)?;
        if in_recovery {
            return Err(NotReady::Replica);
        }
        if read_only {
            return Err(NotReady::ReadOnly);
        }
        if !may_write {
            return Err(NotReady::MayNotWrite);
        }
        if set != self.projection_set {
            return Err(NotReady::Superseded(set));
        }
        if let Some(announced) = announced.filter(|announced| *announced != set) {
            return Err(NotReady::Draining(announced));
        }
        let is_same_server = timeline == Some(server.timeline);
        let is_another = newest.position == seen.position && newest.event_id != seen.event_id;
        let has_all = newest.epoch == seen.epoch && newest.position >= seen.position && !is_another;
        if !(is_same_server && has_all) {
            return Ok(None);
        }
        if let Some(bound) = self.clock.max_offset() {
            let offset = answer.least_offset(row.try_get(9).map_err(PrimaryError::from)?);
            if offset.abs() > bound.as_secs_f64() {
                return Err(NotReady::Clock(AppendError::clock(offset)));
            }
        }
        Ok(Some(newest))
    }
}

/// Why there is no answer: without the use of a schema, its tables cannot even be named.
fn unanswered(error: tokio_postgres::Error) -> NotReady {
    if error.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE) {
        return NotReady::MayNotWrite;
    }
    PrimaryError::from(error).into()
}

/// Opens a connection of the probe and checks the server behind it.
async fn open(database: Database, seen: Arc<SeenLog>) -> Result<Kept, NotReady> {
    let open = async {
        let mut connection = database.connect("tenure probe", SETTINGS).await?;
        let server = seen.check(&mut connection.client).await?.actual;
        Ok((connection, server))
    };
    let opened: Result<Kept, PrimaryError> =
        timeout(OPEN_TIMEOUT, open).await.unwrap_or(Err(PrimaryError::TimedOut(OPEN_TIMEOUT)));
    Ok(opened?)
}
