//! The committer's own connection: nobody else writes with it, and a peer that vanishes must not keep the head lock.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, PoisonError};

use tokio::time::timeout;
use tokio_postgres::Statement;

use super::error::{AppendError, PrimaryError};
use super::parameters::{APPEND, NEXT_PARAMETER};
use super::row_sql;
use super::rows::Table;
use super::seen::{SeenLog, ServerIdentity};
use crate::clock::Clock;
use crate::ids::EventId;
use crate::postgres::{Connection, Database, STATEMENT_TIMEOUT};

/// Settings that keep plans on the indexes however small the tables were at first, and locks short.
const SETTINGS: &str = "
    set enable_seqscan = off; set enable_hashjoin = off; set enable_mergejoin = off; set enable_bitmapscan = off;
    set plan_cache_mode = force_generic_plan; set jit = off; set max_parallel_workers_per_gather = 0;
    set idle_in_transaction_session_timeout = '3s'; set lock_timeout = '5s'; set statement_timeout = '8s';
    set default_transaction_isolation = 'read committed';
    select set_config('synchronous_commit', 'on', false)
    where current_setting('synchronous_commit') in ('off', 'local');";

/// How many statements are kept for as many sets of tables that batches change together.
const MAX_STATEMENTS: usize = 256;

/// A connection with all that an append needs prepared.
pub struct Session {
    pub(super) connection: Connection,
    epoch: i64,
    server: ServerIdentity,
    fence: AtomicI64,
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
    /// Opens the connection, to a server that holds what this node has seen and the projections that this release
    /// maintains.
    pub async fn open(
        database: &Database,
        seen: &SeenLog,
        projection_set: &str,
    ) -> Result<Self, AppendError> {
        let unavailable = |error: PrimaryError| AppendError::Unavailable(error.to_string());
        let connection = database.connect("tenure committer", SETTINGS).await;
        let mut connection = connection.map_err(|error| unavailable(error.into()))?;
        let checked = timeout(STATEMENT_TIMEOUT, seen.check(&mut connection.client)).await;
        let head = checked.unwrap_or(Err(PrimaryError::TimedOut(STATEMENT_TIMEOUT))).map_err(unavailable)?;
        if head.projection_set != projection_set {
            return Err(AppendError::Superseded(head.projection_set));
        }
        Ok(Self {
            connection,
            epoch: head.epoch,
            server: head.actual,
            fence: AtomicI64::new(head.fence),
            statements: Mutex::default(),
        })
    }

    /// The server behind the connection.
    pub const fn server(&self) -> ServerIdentity {
        self.server
    }

    /// The epoch of positions that appends of this session name.
    pub const fn epoch(&self) -> i64 {
        self.epoch
    }

    /// Whether the node is still in this epoch and on this server.
    pub fn is_current(&self, seen: &SeenLog) -> bool {
        let now = seen.get();
        (now.epoch, now.server) == (self.epoch, self.server)
    }

    /// By how many seconds a clock is ahead of the server's, measured anew.
    pub async fn clock_offset(&self, clock: &dyn Clock) -> Result<f64, tokio_postgres::Error> {
        let asked = clock.now();
        let row = self.connection.client.query_one("select clock_timestamp()", &[]).await?;
        Ok(asked.seconds_since(row.try_get(0)?))
    }

    /// Reads the fence again, after another node has moved it.
    pub async fn refresh_fence(&self) -> Result<(), tokio_postgres::Error> {
        let fence = self.connection.client.query_one("select fence from log.head", &[]).await?.try_get(0)?;
        self.fence.store(fence, Ordering::SeqCst);
        Ok(())
    }

    /// Cuts the connection: every batch that waits on it fails at once, and whether it was stored is not known.
    pub fn cut(&self) {
        self.connection.cut();
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
        let calls = row_sql::calls(tables, "view", NEXT_PARAMETER);
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
