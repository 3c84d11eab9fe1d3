//! Bulk appends: stores many units of new streams by binary COPY, with the same row changes as ordinary appends.

use std::time::Duration;

use futures::pin_mut;
use tokio::time::timeout;
use tokio_postgres::binary_copy::BinaryCopyInWriter;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Transaction};

use super::batch::FirstOrdinals;
use super::error::{AppendError, PrimaryError};
use super::event::{FromLog as _, RecordedEvent};
use super::log::EventLog;
use super::rows::{Table, coalesce};
use super::unit::Unit;
use crate::clock::{Clock, Timestamp};
use crate::postgres::statement_reason;
use crate::postgres::{ConnectError, Connection, STATEMENT_TIMEOUT};

/// Why a bulk append failed. Nothing of it was stored, except possibly after [`BulkError::TimedOut`].
#[derive(Debug, thiserror::Error)]
pub enum BulkError {
    /// No connection could be opened.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// Another release has replaced the projections by this set.
    #[error("the projections have been replaced by set {0}")]
    Superseded(String),
    /// The clocks differ, positions have a new epoch, or an event is too large.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// The database did not answer in time; it is not known whether the units were stored.
    #[error("the database did not answer the bulk append within {} s", BULK_TIMEOUT.as_secs())]
    TimedOut,
    /// The server may not answer for the log.
    #[error(transparent)]
    Primary(#[from] PrimaryError),
    /// The database rejected the units: a stream, name or row already exists, or it cannot write.
    #[error("the database rejected the bulk append: {0}")]
    Refused(String),
}

impl From<tokio_postgres::Error> for BulkError {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Refused(statement_reason(&error))
    }
}

/// How long one bulk append may take. Slightly longer than the server's statement timeout (115 s), so that a slow
/// server reports the timeout itself.
const BULK_TIMEOUT: Duration = Duration::from_mins(2);

/// Settings that allow long statements, with a limit.
const SETTINGS: &str = "set lock_timeout = '60s'; set idle_in_transaction_session_timeout = '60s';
                        set statement_timeout = '115s'; set max_parallel_workers_per_gather = 0;";

/// A connection that appends in bulk.
pub struct BulkWriter {
    log: EventLog,
    connection: Connection,
    epoch: i64,
}

/// What positions and recorded times are counted from.
#[derive(Clone, Copy)]
struct Base {
    position: i64,
    recorded_from: Timestamp,
}

impl EventLog {
    /// Opens a connection for bulk appends.
    ///
    /// # Errors
    /// [`BulkError::Connect`], or [`BulkError::Primary`] if the server may not answer for the log.
    pub async fn bulk_writer(&self) -> Result<BulkWriter, BulkError> {
        let mut connection = self.database().connect("tenure bulk", SETTINGS).await?;
        let checked = timeout(STATEMENT_TIMEOUT, self.seen().check(&mut connection.client)).await;
        let head = checked.unwrap_or(Err(PrimaryError::TimedOut(STATEMENT_TIMEOUT)))?;
        Ok(BulkWriter { log: self.clone(), connection, epoch: head.epoch })
    }
}

impl BulkWriter {
    /// Appends the units in one transaction, all of them or none; every stream must be new and every name free. Returns
    /// the newest position.
    ///
    /// # Errors
    /// See [`BulkError`].
    pub async fn append(&mut self, units: &[Unit], clock: &dyn Clock) -> Result<i64, BulkError> {
        let stored = timeout(BULK_TIMEOUT, self.store(units, clock)).await;
        stored.unwrap_or_else(|_| {
            // Bytes that are still on their way must not be stored later.
            self.connection.cut();
            Err(BulkError::TimedOut)
        })
    }

    async fn store(&mut self, units: &[Unit], clock: &dyn Clock) -> Result<i64, BulkError> {
        units.iter().try_for_each(Unit::check_events)?;
        let units: Vec<&Unit> = units.iter().collect();
        let ordinals = FirstOrdinals::of(units.iter().copied());
        let transaction = self.connection.client.transaction().await?;
        let now = clock.now();
        // Locks the head row first, like every append: later statements then see all earlier appends.
        let sql = "select projection_set, epoch, statement_timestamp() from log.head for update";
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
        if check_clock(now, server_time, clock).is_err() {
            // The statement may have been delayed on its way, so the offset is measured again.
            let asked = clock.now();
            let row = transaction.query_one("select clock_timestamp()", &[]).await?;
            check_clock(asked, row.try_get(0)?, clock)?;
        }
        let base = base(&transaction, now).await?;
        copy_events(&transaction, &units, base).await?;
        copy_keys(&transaction, &units).await?;
        copy_claims(&transaction, &units, &ordinals, base).await?;
        copy_rows(&transaction, &units, &ordinals, base).await?;
        transaction.execute("select pg_notify('tenure_log', '')", &[]).await?;
        transaction.commit().await?;
        // Only after the commit: reads of this node must from now on show these events.
        if let Some(last) = units.last().and_then(|unit| unit.events.last()) {
            let count: usize = units.iter().map(|unit| unit.events.len()).sum();
            let newest = base.position + i64::try_from(count).unwrap_or(0);
            self.log.seen().advance(self.epoch, newest, last.id);
            self.log.seen().wake_followers();
        }
        let count: usize = units.iter().map(|unit| unit.events.len()).sum();
        Ok(base.position + i64::try_from(count).unwrap_or(0))
    }

    /// Updates the planner's statistics after large appends. This needs the owner's privileges; without them it is left
    /// to autovacuum.
    pub async fn analyse(&self) {
        let client: &Client = &self.connection.client;
        if let Err(error) = client.batch_execute("reset role; analyze").await {
            tracing::debug!(%error, "statistics are left to autovacuum");
        }
    }
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

async fn copy_events(transaction: &Transaction<'_>, units: &[&Unit], base: Base) -> Result<(), BulkError> {
    let sql = format!("copy log.event ({}) from stdin binary", RecordedEvent::COLUMNS);
    let types = [
        Type::INT8,
        Type::UUID,
        Type::TEXT,
        Type::TEXT,
        Type::INT8,
        Type::TEXT,
        Type::TEXT,
        Type::UUID,
        Type::TIMESTAMPTZ,
        Type::BYTEA,
        Type::BYTEA,
        Type::BYTEA,
    ];
    let writer = BinaryCopyInWriter::new(transaction.copy_in(&sql).await?, &types);
    pin_mut!(writer);
    let events = units.iter().flat_map(|unit| &unit.events);
    for (ordinal, event) in (0..).zip(events) {
        let recorded_at = Timestamp::from_micros(base.recorded_from.as_micros() + ordinal);
        let row: [&(dyn ToSql + Sync); 12] = [
            &(base.position + 1 + ordinal),
            &event.id,
            &&*event.stream.stream_type,
            &&*event.stream.id,
            &event.version,
            &&*event.event_type,
            &&*event.event_version,
            &event.account_id,
            &recorded_at,
            &&*event.payload,
            &&*event.metadata,
            &event.sealed.as_deref(),
        ];
        writer.as_mut().write(&row).await?;
    }
    writer.finish().await?;
    Ok(())
}

async fn copy_keys(transaction: &Transaction<'_>, units: &[&Unit]) -> Result<(), BulkError> {
    let destroyed: std::collections::HashSet<&str> =
        units.iter().flat_map(|unit| unit.destroyed_keys.iter().map(String::as_str)).collect();
    let sink = transaction.copy_in("copy log.data_key (subject, key_id, wrapped) from stdin binary").await?;
    let writer = BinaryCopyInWriter::new(sink, &[Type::TEXT, Type::TEXT, Type::BYTEA]);
    pin_mut!(writer);
    // A key that is created and destroyed in the same bulk append must not be stored.
    for key in units.iter().flat_map(|unit| &unit.new_keys) {
        if !destroyed.contains(key.subject.as_str()) {
            writer.as_mut().write(&[&key.subject, &key.key_id, &&*key.wrapped]).await?;
        }
    }
    writer.finish().await?;
    Ok(())
}

async fn copy_claims(
    transaction: &Transaction<'_>,
    units: &[&Unit],
    ordinals: &FirstOrdinals,
    base: Base,
) -> Result<(), BulkError> {
    // COPY only inserts, so releases are applied to claims of the same bulk append, in memory.
    let mut claims = super::claim::Claims::default();
    for (place, unit) in units.iter().enumerate() {
        for (event, change) in &unit.claims {
            let ordinal = ordinals.of_unit(place) + i64::try_from(*event).unwrap_or(0);
            claims.apply(base.position + ordinal, change.clone());
        }
    }
    let sql = "copy view.unique_claims (kind, key, holder, free_after, position) from stdin binary";
    let types = [Type::TEXT, Type::BYTEA, Type::TEXT, Type::TIMESTAMPTZ, Type::INT8];
    let writer = BinaryCopyInWriter::new(transaction.copy_in(sql).await?, &types);
    pin_mut!(writer);
    for (claim, position) in claims.iter() {
        let key: &[u8] = &claim.key.key;
        writer.as_mut().write(&[&claim.key.kind, &key, &claim.holder, &claim.free_after, &position]).await?;
    }
    writer.finish().await?;
    Ok(())
}

async fn copy_rows(
    transaction: &Transaction<'_>,
    units: &[&Unit],
    ordinals: &FirstOrdinals,
    base: Base,
) -> Result<(), BulkError> {
    let changes = units.iter().enumerate().flat_map(|(place, unit)| {
        let first = ordinals.of_unit(place);
        unit.rows
            .iter()
            .map(move |(event, change)| (base.position + first + i64::try_from(*event).unwrap_or(0), change))
    });
    let coalesced = coalesce(changes);
    let mut tables: Vec<&'static Table> = Vec::new();
    for (table, _, row) in &coalesced {
        // COPY cannot change or delete rows that are there already.
        if row.delete || !row.patch.is_empty() {
            return Err(BulkError::Refused(format!(
                "a row of {} is not new; bulk appends only insert",
                table.name
            )));
        }
        if !tables.iter().any(|known| std::ptr::eq(*known, *table)) {
            tables.push(table);
        }
    }
    // A connection can run one COPY at a time, so tables are written one after the other.
    for table in tables {
        let names: Vec<&str> = table.columns.iter().map(|column| column.name).collect();
        let types: Vec<Type> = table.columns.iter().map(|column| column.column_type.wire()).collect();
        let sql = format!("copy view.{} ({}) from stdin binary", table.name, names.join(", "));
        let writer = BinaryCopyInWriter::new(transaction.copy_in(&sql).await?, &types);
        pin_mut!(writer);
        for (_, _, row) in coalesced.iter().filter(|(of, _, _)| std::ptr::eq(*of, table)) {
            let values = row.insert.as_deref().unwrap_or_default();
            writer.as_mut().write_raw(values.iter().map(|value| &**value as &dyn ToSql)).await?;
        }
        writer.finish().await?;
    }
    Ok(())
}
