//! The committer's own connection: nobody else writes with it, and a peer that vanishes must not keep the head lock.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, PoisonError};

use tokio_postgres::Statement;

use super::error::AppendError;
use super::parameters::{APPEND, NEXT};
use super::row_sql;
use super::rows::Table;
use crate::ids::{EventId, LogId};
use crate::postgres::{ConnectError, Connection, Database};

/// Settings that keep plans on the indexes however small the tables were at first, and locks short.
const SETTINGS: &str = "
    set enable_seqscan = off; set enable_hashjoin = off; set enable_mergejoin = off; set enable_bitmapscan = off;
    set plan_cache_mode = force_generic_plan; set jit = off;
    set idle_in_transaction_session_timeout = '3s'; set lock_timeout = '10s'; set statement_timeout = '60s';
    set default_transaction_isolation = 'read committed';
    select set_config('synchronous_commit', 'on', false)
    where current_setting('synchronous_commit') in ('off', 'local');";

/// How many statements are kept for as many sets of tables that batches change together.
const MAX_STATEMENTS: usize = 256;

/// What the head row says about the log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Head {
    /// Which log this is.
    pub log_id: LogId,
    /// Raised when a log begins anew at a position it had before, for example after a restore.
    pub epoch: i64,
    /// Raised to make everything sent before worthless.
    pub fence: i64,
    /// Which set of projections `view` holds.
    pub projection_set: String,
}

/// A connection with all that an append needs prepared.
pub struct Session {
    pub(super) connection: Connection,
    fence: AtomicI64,
    log: (LogId, i64),
    statements: Mutex<HashMap<Vec<&'static str>, Statement>>,
}

/// What became of a batch whose connection was lost.
pub enum Resolution {
    /// It is in the log; its first event has this position and was recorded then.
    Stored {
        /// The position before its first event.
        base: i64,
        /// When its first event was recorded.
        recorded_from: crate::clock::Timestamp,
    },
    /// It is not in the log and never will be.
    NotStored,
}

impl Session {
    /// Opens the connection and prepares it for the log that `expected` names.
    ///
    /// `acknowledged` is an event that has to be there: callers have been told so. So has whatever this node has `seen`,
    /// of whichever node: it remembers versions from there.
    pub async fn open(
        database: &Database,
        expected: &Head,
        acknowledged: Option<(i64, EventId)>,
        seen: i64,
    ) -> Result<Self, AppendError> {
        let unavailable = |error: tokio_postgres::Error| AppendError::Unavailable(reason(&error));
        let connection = database
            .connect("tenure committer")
            .await
            .map_err(|error: ConnectError| AppendError::Unavailable(error.to_string()))?;
        let client = &connection.client;
        client.batch_execute(SETTINGS).await.map_err(unavailable)?;
        let head = read_head(client).await.map_err(unavailable)?;
        if (head.log_id, head.epoch) != (expected.log_id, expected.epoch) {
            return Err(AppendError::Unavailable(format!(
                "the database now holds log {} epoch {}, this node was started on log {} epoch {}",
                head.log_id, head.epoch, expected.log_id, expected.epoch
            )));
        }
        if head.projection_set != expected.projection_set {
            return Err(AppendError::Superseded(head.projection_set));
        }
        if let Some((position, event)) = acknowledged {
            let sql = "select event_id from log.event where position = $1";
            let found = client.query_opt(sql, &[&position]).await.map_err(unavailable)?;
            if found.is_none_or(|row| row.get::<_, EventId>(0) != event) {
                return Err(AppendError::Unavailable(format!(
                    "event {event}, acknowledged at position {position}, is not there any more: the database has lost \
                     events; restore them, or start this node again to go on without them"
                )));
            }
        }
        let sql = "select coalesce((select position from log.event order by position desc limit 1), 0)";
        let newest: i64 = client.query_one(sql, &[]).await.map_err(unavailable)?.get(0);
        if newest < seen {
            return Err(AppendError::Unavailable(format!(
                "the log ends at position {newest}, and this node has seen position {seen}: the database has lost events; \
                 restore them, or start this node again to go on without them"
            )));
        }
        Ok(Self {
            connection,
            fence: AtomicI64::new(head.fence),
            log: (head.log_id, head.epoch),
            statements: Mutex::default(),
        })
    }

    /// Reads the fence again, after another node has moved it; an error if another log has taken the place of ours.
    pub async fn refresh_fence(&self) -> Result<(), AppendError> {
        let head = read_head(&self.connection.client).await;
        let head = head.map_err(|error| AppendError::Unavailable(reason(&error)))?;
        if (head.log_id, head.epoch) != self.log {
            return Err(AppendError::Unavailable("another log has taken the place of this one".to_owned()));
        }
        self.fence.store(head.fence, Ordering::SeqCst);
        Ok(())
    }

    /// Wakes whoever follows the log on other nodes.
    pub async fn notify(&self) -> Result<(), tokio_postgres::Error> {
        self.connection.client.batch_execute("select pg_notify('tenure_log', '')").await
    }

    /// The fence that appends of this session name.
    pub fn fence(&self) -> i64 {
        self.fence.load(Ordering::SeqCst)
    }

    /// Moves the fence, so that late bytes of an earlier connection are refused, and only then looks whether the
    /// batch that began with this event was stored.
    pub async fn resolve(
        &mut self,
        stream_type: &str,
        stream_id: &str,
        version: i64,
        event: EventId,
    ) -> Result<Resolution, tokio_postgres::Error> {
        let transaction = self.connection.client.transaction().await?;
        transaction.execute("select fence from log.head for update", &[]).await?;
        let fence =
            transaction.query_one("update log.head set fence = fence + 1 returning fence", &[]).await?;
        let found = transaction
            .query_opt(
                "select position - 1, recorded_at, event_id from log.event \
                 where stream_type = $1 and stream_id = $2 and version = $3",
                &[&stream_type, &stream_id, &version],
            )
            .await?;
        transaction.commit().await?;
        self.fence.store(fence.try_get(0)?, Ordering::SeqCst);
        Ok(match found {
            Some(row) if row.get::<_, EventId>(2) == event => {
                Resolution::Stored { base: row.get(0), recorded_from: row.get(1) }
            }
            _ => Resolution::NotStored,
        })
    }

    /// The statement that stores a batch and changes these tables: prepared when such a batch first comes.
    pub async fn append_to(&self, tables: &[&'static Table]) -> Result<Statement, tokio_postgres::Error> {
        let names: Vec<&'static str> = tables.iter().map(|table| table.name).collect();
        let statements = || self.statements.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = statements().get(&names) {
            return Ok(known.clone());
        }
        let calls = row_sql::calls(tables, "view", NEXT);
        let sql = format!("select a.base, a.recorded_from{calls} from {APPEND} a");
        let prepared = self.connection.client.prepare(&sql).await?;
        let mut statements = statements();
        if statements.len() >= MAX_STATEMENTS {
            statements.clear();
        }
        statements.insert(names, prepared.clone());
        Ok(prepared)
    }
}

/// The head row of the log.
pub async fn read_head(client: &tokio_postgres::Client) -> Result<Head, tokio_postgres::Error> {
    let row = client.query_one("select log_id, epoch, fence, projection_set from log.head", &[]).await?;
    Ok(Head {
        log_id: row.try_get(0)?,
        epoch: row.try_get(1)?,
        fence: row.try_get(2)?,
        projection_set: row.try_get(3)?,
    })
}

/// Why a statement failed, without its parameters: PostgreSQL's message of a data error may quote a value.
pub fn reason(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(refused) if matches!(refused.code().code().get(..2), Some("22" | "23")) => {
            format!("SQLSTATE {}", refused.code().code())
        }
        Some(refused) => format!("{} (SQLSTATE {})", refused.message(), refused.code().code()),
        None => error.to_string(),
    }
}
