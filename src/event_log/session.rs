//! The committer's own connection, with the fence and the prepared statements; its timeouts keep the head lock short.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, PoisonError};

use tokio::time::timeout;
use tokio_postgres::Statement;

use super::error::{AppendError, PrimaryError};
use super::parameters::{APPEND, APPEND_PARAMETERS, NEXT_PARAMETER};
use super::plans::{ConnectionPlans, DISCARD};
use super::row_sql;
use super::rows::Table;
use super::seen::{SeenLog, ServerIdentity, WAL_FILE};
use crate::clock::Clock;
use crate::ids::EventId;
use crate::postgres::{Connection, Database, STATEMENT_TIMEOUT};

/// Settings that make generic plans use the indexes, even if a table was small when the plan was made, and that keep
/// locks short: a client that vanishes must not hold the head lock. An append must be durable before it is
/// acknowledged, so `synchronous_commit` is raised from `off` or `local` to `on`.
const SETTINGS: &str = "
    set enable_seqscan = off; set enable_hashjoin = off; set enable_mergejoin = off; set enable_bitmapscan = off;
    set plan_cache_mode = force_generic_plan;
    set idle_in_transaction_session_timeout = '3s'; set lock_timeout = '5s'; set statement_timeout = '8s';
   
    select set_config('synchronous_commit', 'on', false)
    where current_setting('synchronous_commit') in ('off', 'local');";

/// Maximum number of prepared statements; there is one for each set of tables that batches change together.
const MAX_STATEMENTS: usize = 256;

/// A connection to the server that holds the log, with the epoch, the fence and the server that each append states.
pub struct Session {
    pub(super) connection: Connection,
    epoch: i64,
    server: ServerIdentity,
    fence: AtomicI64,
    statements: Mutex<HashMap<Vec<&'static str>, Statement>>,
    plans: ConnectionPlans,
}

/// Whether a batch was stored whose connection was lost.
pub enum Resolution {
    /// The batch is in the log.
    Stored {
        /// The position before the batch's first event.
        base: i64,
        /// When the batch's first event was recorded.
        recorded_from: crate::clock::Timestamp,
    },
    /// The batch is not in the log and never will be, because the fence has moved.
    NotStored,
}

impl Session {
    /// Connects to a server that holds everything this node has seen and the projections that this release maintains.
    ///
    /// # Errors
    /// [`AppendError::Superseded`] if another release has replaced the projections, otherwise
    /// [`AppendError::Unavailable`].
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
        // `log.append` compares the set too, under the head lock; here it saves sending batches that must fail.
        if head.projection_set != projection_set {
            return Err(AppendError::Superseded(head.projection_set));
        }
        Ok(Self {
            connection,
            epoch: head.epoch,
            server: head.actual,
            fence: AtomicI64::new(head.fence),
            statements: Mutex::default(),
            plans: ConnectionPlans::of_new_connection(seen.plans()),
        })
    }

    /// The server behind the connection.
    pub const fn server(&self) -> ServerIdentity {
        self.server
    }

    /// The epoch that appends of this session expect.
    pub const fn epoch(&self) -> i64 {
        self.epoch
    }

    /// Whether the node is still in this epoch and on this server.
    pub fn is_current(&self, seen: &SeenLog) -> bool {
        let now = seen.get();
        (now.epoch, now.server) == (self.epoch, self.server)
    }

    /// Measures by how many seconds a clock is ahead of the server's; negative if it is behind.
    pub async fn clock_offset(&self, clock: &dyn Clock) -> Result<f64, tokio_postgres::Error> {
        let asked = clock.now();
        let row = self.connection.client.query_one("select clock_timestamp()", &[]).await?;
        Ok(asked.seconds_since(row.try_get(0)?))
    }

    /// Reads the fence again, for use after another node has moved it.
    pub async fn refresh_fence(&self) -> Result<(), tokio_postgres::Error> {
        let fence = self.connection.client.query_one("select fence from log.head", &[]).await?.try_get(0)?;
        self.fence.store(fence, Ordering::SeqCst);
        Ok(())
    }

    /// Cuts the connection: every batch in flight on it fails at once, and its outcome is unknown.
    pub fn cut(&self) {
        self.connection.cut();
    }

    /// Wakes the followers on other nodes.
    pub async fn notify(&self) -> Result<(), tokio_postgres::Error> {
        self.connection.client.batch_execute("select pg_notify('tenure_log', '')").await
    }

    /// The fence that appends of this session expect.
    pub fn fence(&self) -> i64 {
        self.fence.load(Ordering::SeqCst)
    }

    /// Finds out whether the batch that begins with this event was stored.
    ///
    /// Moves the fence first, so that late bytes of the lost connection are refused. In the other order the look-up
    /// could find nothing and the batch be stored afterwards.
    pub async fn resolve(
        &mut self,
        stream_type: &str,
        stream_id: &str,
        version: i64,
        event: EventId,
    ) -> Result<Resolution, tokio_postgres::Error> {
        let transaction = self.connection.client.transaction().await?;
        // Waits for an append that still holds the head row; the next statements then see what it committed.
        transaction.execute("select fence from log.head for update", &[]).await?;
        let fence =
            transaction.query_one("update log.head set fence = fence + 1 returning fence", &[]).await?;
        // By stream and version, which have an index; event identifiers have none.
        let found = transaction
            .query_opt(
                "select position - 1, recorded_at, event_id from log.event \
                 where stream_type = $1 and stream_id = $2 and version = $3",
                &[&stream_type, &stream_id, &version],
            )
            .await?;
        transaction.commit().await?;
        // After the commit: the log does not have this fence before.
        self.fence.store(fence.try_get(0)?, Ordering::SeqCst);
        Ok(match found {
            // Another node may hold that version of the stream, so the event is compared.
            Some(row) if row.get::<_, EventId>(2) == event => {
                Resolution::Stored { base: row.get(0), recorded_from: row.get(1) }
            }
            _ => Resolution::NotStored,
        })
    }

    /// The statement that stores a batch and changes these tables; prepared on first use, and planned again once tables have grown.
    pub async fn append_to(&self, tables: &[&'static Table]) -> Result<Statement, tokio_postgres::Error> {
        if let Some(generation) = self.plans.outdated() {
            self.connection.client.batch_execute(DISCARD).await?;
            self.plans.discarded(generation);
        }
        let names: Vec<&'static str> = tables.iter().map(|table| table.name).collect();
        // The lock is not held while preparing; to prepare a statement twice is harmless.
        let statements = || self.statements.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = statements().get(&names) {
            return Ok(known.clone());
        }
        let calls = row_sql::calls(tables, "view", NEXT_PARAMETER);
        let sql =
            format!("select a.base, a.recorded_from, {WAL_FILE}{calls} from {APPEND}{APPEND_PARAMETERS} a");
        let prepared = self.connection.client.prepare(&sql).await?;
        let mut statements = statements();
        if statements.len() >= MAX_STATEMENTS {
            statements.clear();
        }
        statements.insert(names, prepared.clone());
        Ok(prepared)
    }
}
