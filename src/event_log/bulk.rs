//! Bulk appends: stores many units of new streams by binary COPY, with the same row changes as ordinary appends.

use tokio::time::timeout;
use tokio_postgres::Transaction;

use super::bulk_batch::{Base, BulkBatch};
use super::bulk_error::{BULK_TIMEOUT, BulkError};
use super::copy_in::copy_in;
use super::error::{AppendError, PrimaryError};
use super::log::EventLog;
use super::seen::ServerIdentity;
use crate::clock::{Clock, Timestamp};
use crate::postgres::{Connection, STATEMENT_TIMEOUT};

/// Settings that allow long statements, with a limit.
const SETTINGS: &str = "set lock_timeout = '60s'; set idle_in_transaction_session_timeout = '60s';
                        set statement_timeout = '115s';";

/// A connection that appends in bulk.
pub struct BulkWriter {
    log: EventLog,
    connection: Connection,
    epoch: i64,
    server: ServerIdentity,
}

impl EventLog {
    /// Updates the planner's statistics after, or during, large appends. This needs the owner's privileges; without them it is left
    /// to autovacuum.
    pub async fn analyse(&self) {
        let analysing = async {
            let connection = self.database().connect("tenure bulk", SETTINGS).await?;
            connection.client.batch_execute("reset role; analyze (skip_locked)").await?;
            Ok::<_, PrimaryError>(())
        };
        let analysed = timeout(BULK_TIMEOUT, analysing).await;
        if !matches!(analysed, Ok(Ok(()))) {
            tracing::debug!(?analysed, "statistics are left to autovacuum");
        }
    }

    /// Opens a connection for bulk appends.
    ///
    /// # Errors
    /// [`BulkError::Connect`], or [`BulkError::Primary`] if the server may not answer for the log.
    pub async fn bulk_writer(&self) -> Result<BulkWriter, BulkError> {
        let mut connection = self.database().connect("tenure bulk", SETTINGS).await?;
        let checked = timeout(STATEMENT_TIMEOUT, self.seen().check(&mut connection.client)).await;
        let head = checked.unwrap_or(Err(PrimaryError::TimedOut(STATEMENT_TIMEOUT)))?;
        Ok(BulkWriter { log: self.clone(), connection, epoch: head.epoch, server: head.actual })
    }
}

impl BulkWriter {
    /// Fails if the node has left the server behind this connection.
    fn check_server(&self) -> Result<(), BulkError> {
        if self.log.seen().get().server == self.server { Ok(()) } else { Err(left()) }
    }

    /// Appends the batch in one transaction, all of it or nothing; every stream must be new and every name free. Returns
    /// the newest position.
    ///
    /// # Errors
    /// See [`BulkError`].
    pub async fn append(&mut self, batch: BulkBatch, clock: &dyn Clock) -> Result<i64, BulkError> {
        let stored = timeout(BULK_TIMEOUT, self.store(batch, clock)).await;
        stored.unwrap_or_else(|_| {
            // Bytes that are still on their way must not be stored later.
            self.connection.cut();
            Err(BulkError::TimedOut)
        })
    }

    async fn store(&mut self, mut batch: BulkBatch, clock: &dyn Clock) -> Result<i64, BulkError> {
        self.check_server()?;
        let transaction = self.connection.client.transaction().await?;
        let now = clock.now();
        // Locks the head row first, like every append: later statements then see all earlier appends.
        let sql =
            "select projection_set, epoch, statement_timestamp(), accepted_keys from log.head for update";
        let head = transaction.query_one(sql, &[]).await?;
        // `statement_timestamp()` is when the statement arrived: the wait for the lock is not a clock offset.
        let (set, epoch, server_time): (String, i64, Timestamp) =
            (head.try_get(0)?, head.try_get(1)?, head.try_get(2)?);
        if set != self.log.projection_set() {
            return Err(BulkError::Superseded(set));
        }
        if epoch != self.epoch {
            return Err(AppendError::EpochChanged.into());
        }
        let accepted: Vec<String> = head.try_get(3)?;
        if let Some(key) = batch.master_keys.iter().find(|key| !accepted.contains(key)) {
            return Err(BulkError::Refused(format!(
                "the log does not accept master key {key} for new data keys"
            )));
        }
        if check_clock(now, server_time, clock).is_err() {
            // The statement may have been delayed on its way, so the offset is measured again.
            let asked = clock.now();
            let row = transaction.query_one("select clock_timestamp()", &[]).await?;
            check_clock(asked, row.try_get(0)?, clock)?;
        }
        let base = base(&transaction, now).await?;
        let mut headers = std::mem::take(&mut batch.headers);
        for header in &mut headers {
            header.position += base.position;
        }
        let last = headers.last().map(|header| (header.position, header.id));
        // A connection can run one COPY at a time, so tables are written one after the other.
        for (table, columns, rows) in batch.on(base) {
            copy_in(transaction.client(), &table, &columns, rows).await?;
        }
        transaction.execute("select pg_notify('tenure_log', '')", &[]).await?;
        let announced = self.log.own_appends().announce(self.epoch, headers);
        transaction.commit().await?;
        // On a server that this node has left since, it counts as little as whatever else that server stores.
        let Some((newest, id)) = last else { return Ok(base.position) };
        // Only after the commit: reads of this node must from now on show these events.
        if !self.log.seen().advance(self.server, self.epoch, newest, id) {
            return Err(left());
        }
        announced.stored();
        self.log.seen().wake_followers();
        Ok(newest)
    }
}

/// The error of a bulk append to a server that does not count any more.
fn left() -> BulkError {
    BulkError::Unavailable("this node has left the server of the bulk append".to_owned())
}

/// Refuses a clock that is further from the server's than its limit allows.
fn check_clock(now: Timestamp, server: Timestamp, clock: &dyn Clock) -> Result<(), BulkError> {
    let Some(bound) = clock.max_offset() else { return Ok(()) };
    let offset = now.seconds_since(server);
    if offset.abs() > bound.as_secs_f64() { Err(AppendError::clock(offset).into()) } else { Ok(()) }
}

async fn base(transaction: &Transaction<'_>, now: Timestamp) -> Result<Base, BulkError> {
    let newest = transaction
        .query_opt("select position, recorded_at from log.event order by position desc limit 1", &[])
        .await?;
    Ok(match newest {
        None => Base { position: 0, recorded_from: now },
        Some(row) => {
            let last: Timestamp = row.try_get(1)?;
            // Recorded times increase strictly with positions, even if a clock was set back.
            let next = Timestamp::from_micros(last.as_micros() + 1);
            Base { position: row.try_get(0)?, recorded_from: now.max(next) }
        }
    })
}
