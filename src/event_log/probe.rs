//! The readiness probe: checks whether this node can serve. It has a connection of its own, so that a busy pool does
//! not count as an outage.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::timeout;
use tokio_postgres::Row;

use super::checkpoint::Checkpoint;
use super::error::PrimaryError;
use super::seen::{Seen, SeenLog, ServerIdentity};
use crate::ids::EventId;
use crate::postgres::{ConnectError, Connection, Database};

/// How long a probe may take, including connecting.
pub const PROBE_TIMEOUT: Duration = Duration::from_secs(1);

/// Settings of the probe's connection; the server's timeouts are slightly shorter than [`PROBE_TIMEOUT`].
const SETTINGS: &str =
    "set statement_timeout = '900ms'; set lock_timeout = '900ms'; set plan_cache_mode = force_generic_plan;
                        set enable_seqscan = off; set max_parallel_workers_per_gather = 0;";

/// Selects the state that [`Probe::judge`] reads.
const STATE: &str = "
    select pg_is_in_recovery(), current_setting('transaction_read_only') <> 'off',
           has_table_privilege('log.event', 'insert'), h.projection_set, h.epoch, n.position, n.event_id
    from log.head h
    left join lateral (select position, event_id from log.event order by position desc limit 1) n on true";

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
            Self::Stopped => "this process has stopped storing events; restart it",
        }
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

/// Checks whether this node can serve.
pub struct Probe {
    database: Database,
    seen: Arc<SeenLog>,
    projection_set: String,
    /// The probe's connection, with the server behind it; `None` until it is opened and after a failure.
    connection: Mutex<Option<(Connection, ServerIdentity)>>,
}

impl Probe {
    pub(super) fn new(database: Database, seen: Arc<SeenLog>, projection_set: String) -> Self {
        Self { database, seen, projection_set, connection: Mutex::default() }
    }

    /// The newest place in the log, if this node can serve; takes no longer than [`PROBE_TIMEOUT`].
    ///
    /// # Errors
    /// [`NotReady`] says why it cannot.
    pub async fn ask(&self) -> Result<Checkpoint, NotReady> {
        // One probe at a time, because all share one connection.
        let mut place = self.connection.lock().await;
        // Taken out during the probe: a connection that failed, or whose probe was cancelled, is not used again.
        let kept = place.take();
        match timeout(PROBE_TIMEOUT, self.ask_on(kept)).await {
            Ok(Ok((kept, checkpoint))) => {
                *place = Some(kept);
                Ok(checkpoint)
            }
            Ok(Err(error)) => Err(error),
            Err(_) => Err(PrimaryError::TimedOut(PROBE_TIMEOUT).into()),
        }
    }

    async fn ask_on(
        &self,
        kept: Option<(Connection, ServerIdentity)>,
    ) -> Result<((Connection, ServerIdentity), Checkpoint), NotReady> {
        // Before the query: the answer must show this, but not what other tasks see in the meantime.
        let seen = self.seen.get();
        if let Some((connection, server)) = kept
            && server == seen.server
            && let Ok(row) = connection.client.query_one(STATE, &[]).await
            && let Some(checkpoint) = self.judge(&row, &seen)?
        {
            return Ok(((connection, server), checkpoint));
        }
        let connection = self.database.connect("tenure probe", SETTINGS).await;
        let mut connection = connection.map_err(PrimaryError::from)?;
        let server = self.seen.check(&mut connection.client).await?.actual;
        // Read again, because the check may have taken this node to a new epoch.
        let seen = self.seen.get();
        let row = connection.client.query_one(STATE, &[]).await.map_err(PrimaryError::from)?;
        match self.judge(&row, &seen)? {
            Some(checkpoint) => Ok(((connection, server), checkpoint)),
            None => Err(NotReady::Stale("the epoch of the log is changing".to_owned())),
        }
    }

    /// Judges the state that a server reports; `None` if a new connection has to check the server again.
    fn judge(&self, row: &Row, seen: &Seen) -> Result<Option<Checkpoint>, NotReady> {
        let state = || -> Result<_, tokio_postgres::Error> {
            Ok((
                (row.try_get::<_, bool>(0)?, row.try_get::<_, bool>(1)?, row.try_get::<_, bool>(2)?),
                row.try_get::<_, String>(3)?,
                Checkpoint {
                    log_id: self.seen.log_id(),
                    epoch: row.try_get(4)?,
                    position: row.try_get::<_, Option<i64>>(5)?.unwrap_or(0),
                    event_id: row.try_get::<_, Option<EventId>>(6)?.unwrap_or(EventId::NIL),
                },
            ))
        };
        let ((in_recovery, read_only, may_write), set, newest) = state().map_err(PrimaryError::from)?;
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
        Ok((newest.epoch == seen.epoch && newest.position >= seen.position).then_some(newest))
    }
}
