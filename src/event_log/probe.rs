//! Whether this node can serve: asked on a connection of its own, so that a busy pool does not count as an outage.

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

/// How long a probe may take, connecting included.
pub const PROBE_TIMEOUT: Duration = Duration::from_secs(1);

const SETTINGS: &str =
    "set statement_timeout = '900ms'; set lock_timeout = '900ms'; set plan_cache_mode = force_generic_plan;
                        set enable_seqscan = off; set max_parallel_workers_per_gather = 0;";

const STATE: &str = "
    select pg_is_in_recovery(), current_setting('transaction_read_only') <> 'off',
           has_table_privilege('log.event', 'insert'), h.projection_set, h.epoch, n.position, n.event_id
    from log.head h
    left join lateral (select position, event_id from log.event order by position desc limit 1) n on true";

/// Why a node cannot serve at present.
#[derive(Debug, thiserror::Error)]
pub enum NotReady {
    /// The database does not answer, or refuses.
    #[error("PostgreSQL cannot be reached: {0}")]
    Unreachable(String),
    /// The database's address leads to a replica.
    #[error("PostgreSQL is a replica; name the primary")]
    Replica,
    /// The database is read-only.
    #[error("PostgreSQL is read-only")]
    ReadOnly,
    /// The role may not write.
    #[error("the role that serves may not write to the log")]
    MayNotWrite,
    /// Another release has replaced the projections.
    #[error("the projections have been replaced by set {0}; start the release that made it")]
    Superseded(String),
    /// The database lacks what this node has seen, or holds another log.
    #[error("{0}")]
    Stale(String),
    /// The task that stores events has ended.
    #[error("this process no longer stores events; start it again")]
    Stopped,
}

impl NotReady {
    /// What strangers may be told: neither addresses nor the server's words.
    #[must_use]
    pub const fn advice(&self) -> &'static str {
        match self {
            Self::Unreachable(_) => {
                "PostgreSQL does not answer, or refuses; the log of this process says why"
            }
            Self::Replica => "the address of the database leads to a replica; name the primary",
            Self::ReadOnly => "the database is read-only; turn default_transaction_read_only off",
            Self::MayNotWrite => {
                "the role that serves may not write to the log; `tenure migrate` grants what is missing"
            }
            Self::Superseded(_) => "another release has replaced the projections; start that one",
            Self::Stale(_) => {
                "the database lacks events that this node has seen, or holds another log: restore them, or run \
                 `tenure log new-epoch --yes` to go on without them"
            }
            Self::Stopped => "this process no longer stores events; start it again",
        }
    }

    /// A stable word for it.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Unreachable(_) => "unreachable",
            Self::Replica => "replica",
            Self::ReadOnly => "read_only",
            Self::MayNotWrite => "may_not_write",
            Self::Superseded(_) => "superseded",
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

/// Asks whether this node can serve.
pub struct Probe {
    database: Database,
    seen: Arc<SeenLog>,
    projection_set: String,
    /// With the server that it leads to.
    connection: Mutex<Option<(Connection, ServerIdentity)>>,
}

impl Probe {
    pub(super) fn new(database: Database, seen: Arc<SeenLog>, projection_set: String) -> Self {
        Self { database, seen, projection_set, connection: Mutex::default() }
    }

    /// The newest place in the log, if this node can serve.
    ///
    /// # Errors
    /// See [`NotReady`]; it takes no longer than [`PROBE_TIMEOUT`].
    pub async fn ask(&self) -> Result<Checkpoint, NotReady> {
        let mut place = self.connection.lock().await;
        // Taken out while it is asked: a connection that failed, or that nobody waited for, is not asked again.
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
        // What was seen before the question has to be in its answer; what is seen meanwhile need not.
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
        let seen = self.seen.get();
        let row = connection.client.query_one(STATE, &[]).await.map_err(PrimaryError::from)?;
        match self.judge(&row, &seen)? {
            Some(checkpoint) => Ok(((connection, server), checkpoint)),
            None => Err(NotReady::Stale("the log changes its epoch".to_owned())),
        }
    }

    /// What a server says of itself; `None`: it has to be checked anew.
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
