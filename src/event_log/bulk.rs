//! Bulk appends: many units of new streams by binary COPY, through the same encoding and the same row changes.

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
use super::rows::{ColumnType, Table, coalesce};
use super::unit::Unit;
use crate::clock::{Clock, Timestamp};
use crate::postgres::statement_reason;
use crate::postgres::{ConnectError, Connection, STATEMENT_TIMEOUT};

/// Why a bulk append did not happen; nothing of it remains.
#[derive(Debug, thiserror::Error)]
pub enum BulkError {
    /// There is no connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The projections are another set now.
    #[error("the projections have been replaced by set {0}")]
    Superseded(String),
    /// The clocks differ, or positions have a new epoch.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// The database did not answer in time; whether the last units were stored is not known.
    #[error("the database did not answer the bulk append within {} s", BULK_TIMEOUT.as_secs())]
    TimedOut,
    /// The server does not answer for the log.
    #[error(transparent)]
    Primary(#[from] PrimaryError),
    /// The database refuses: a stream or a name is there already, or it cannot write.
    #[error("the database refuses the bulk append: {0}")]
    Refused(String),
}

impl From<tokio_postgres::Error> for BulkError {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Refused(statement_reason(&error))
    }
}

/// How long one bulk append may take.
const BULK_TIMEOUT: Duration = Duration::from_mins(2);

/// Long statements, but none without an end.
const SETTINGS: &str = "set lock_timeout = '60s'; set idle_in_transaction_session_timeout = '60s';
                        set statement_timeout = '115s'; set max_parallel_workers_per_gather = 0;";

/// A connection that appends in bulk.
pub struct BulkWriter {
    log: EventLog,
    connection: Connection,
    epoch: i64,
}

/// What the position of a claim and of an event is counted from.
#[derive(Clone, Copy)]
struct Base {
    position: i64,
    recorded_from: Timestamp,
}

impl EventLog {
    /// Opens a connection for bulk appends.
    ///
    /// # Errors
    /// There is no connection.
    pub async fn bulk_writer(&self) -> Result<BulkWriter, BulkError> {
        let mut connection = self.database().connect("tenure bulk", SETTINGS).await?;
        let checked = timeout(STATEMENT_TIMEOUT, self.seen().check(&mut connection.client)).await;
        let head = checked.unwrap_or(Err(PrimaryError::TimedOut(STATEMENT_TIMEOUT)))?;
        Ok(BulkWriter { log: self.clone(), connection, epoch: head.epoch })
    }
}

impl BulkWriter {
    /// Appends the units in one transaction, all of them or none; every stream among them must be new, and every
    /// name free. Gives the newest position.
    ///
    /// # Errors
    /// See [`BulkError`].
    pub async fn append(&mut self, units: &[Unit], clock: &dyn Clock) -> Result<i64, BulkError> {
        let stored = timeout(BULK_TIMEOUT, self.store(units, clock)).await;
        stored.unwrap_or_else(|_| {
            // Whatever of it is still on its way must not be stored later.
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
        let sql = "select projection_set, epoch, statement_timestamp() from log.head for update";
        let head = transaction.query_one(sql, &[]).await?;
        // The time of the statement, not of the lock: waiting is no offset.
        let (set, epoch, server_time): (String, i64, Timestamp) =
            (head.try_get(0)?, head.try_get(1)?, head.try_get(2)?);
        if set != self.log.projection_set() {
            return Err(BulkError::Superseded(set));
        }
        if epoch != self.epoch {
            return Err(AppendError::EpochChanged.into());
        }
        if check_clock(now, server_time, clock).is_err() {
            // It may have waited on its way: only what is measured now counts.
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
        if let Some(last) = units.last().and_then(|unit| unit.events.last()) {
            let count: usize = units.iter().map(|unit| unit.events.len()).sum();
            let newest = base.position + i64::try_from(count).unwrap_or(0);
            self.log.seen().advance(self.epoch, newest, last.id);
            self.log.seen().wake_followers();
        }
        let count: usize = units.iter().map(|unit| unit.events.len()).sum();
        Ok(base.position + i64::try_from(count).unwrap_or(0))
    }

    /// Brings the planner's statistics up to date after much was appended; needs the owner's rights and does
    /// without where the connection has not got them.
    pub async fn analyse(&self) {
        let client: &Client = &self.connection.client;
        if let Err(error) = client.batch_execute("reset role; analyze").await {
            tracing::debug!(%error, "statistics are left to autovacuum");
        }
    }
}

/// Refuses a clock that is too far from the server's.
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
        if row.delete || !row.patch.is_empty() {
            return Err(BulkError::Refused(format!("a row of {} is not new", table.name)));
        }
        if !tables.iter().any(|known| std::ptr::eq(*known, *table)) {
            tables.push(table);
        }
    }
    for table in tables {
        let names: Vec<&str> = table.columns.iter().map(|column| column.name).collect();
        let types: Vec<Type> = table.columns.iter().map(|column| wire_type(column.column_type)).collect();
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

const fn wire_type(column: ColumnType) -> Type {
    match column {
        ColumnType::Bool => Type::BOOL,
        ColumnType::BigInt | ColumnType::Position => Type::INT8,
        ColumnType::Text => Type::TEXT,
        ColumnType::Uuid => Type::UUID,
        ColumnType::Bytea => Type::BYTEA,
        ColumnType::Timestamptz => Type::TIMESTAMPTZ,
    }
}
