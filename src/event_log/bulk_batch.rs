//! The units of one bulk append, encoded as rows of all tables before anything is locked.
//!
//! Positions and recorded times are counted from a base that is known only under the head lock: they are encoded as ordinals,
//! and the base is added in place.

use std::collections::{BTreeSet, HashSet};

use bytes::{Bytes, BytesMut};
use tokio_postgres::types::Type;

use super::batch::FirstOrdinals;
use super::bulk_error::BulkError;
use super::claim::Claims;
use super::copy_in::{begin_row, put_field};
use super::event::{EventHeader, FromLog as _, NewEvent, RecordedEvent};
use super::rows::{ColumnType, Table, Value, coalesce};
use super::unit::Unit;
use crate::clock::Timestamp;

/// Units that are ready to be appended in bulk.
pub struct BulkBatch {
    /// The events, with ordinals for positions.
    pub(super) headers: Vec<EventHeader>,
    /// The ids of the master keys that wrap its new data keys.
    pub(super) master_keys: BTreeSet<String>,
    tables: Vec<Encoded>,
}

/// The rows of one table.
struct Encoded {
    table: String,
    columns: String,
    rows: BytesMut,
    /// Where positions are, each an ordinal so far.
    positions: Vec<usize>,
    /// Where recorded times are, each the microseconds after the first so far.
    times: Vec<usize>,
}

/// What positions and recorded times are counted from.
#[derive(Clone, Copy)]
pub(super) struct Base {
    pub(super) position: i64,
    pub(super) recorded_from: Timestamp,
}

impl Encoded {
    fn new(table: &str, columns: &str) -> Self {
        let (table, columns) = (table.to_owned(), columns.to_owned());
        Self { table, columns, rows: BytesMut::new(), positions: Vec::new(), times: Vec::new() }
    }

    /// Puts an ordinal that becomes a position.
    fn put_position(&mut self, ordinal: i64) -> Result<(), BulkError> {
        put_field(&mut self.rows, &Type::INT8, &ordinal)?;
        self.positions.push(self.rows.len() - 8);
        Ok(())
    }

    /// Adds the base to the numbers at these places.
    fn add(rows: &mut BytesMut, places: &[usize], base: i64) {
        for place in places {
            let number = &mut rows[*place..*place + 8];
            let mut bytes = [0; 8];
            bytes.copy_from_slice(number);
            number.copy_from_slice(&(i64::from_be_bytes(bytes) + base).to_be_bytes());
        }
    }

    fn on(mut self, base: Base) -> (String, String, Bytes) {
        Self::add(&mut self.rows, &self.positions, base.position);
        Self::add(&mut self.rows, &self.times, base.recorded_from.as_micros());
        (self.table, self.columns, self.rows.freeze())
    }
}

impl BulkBatch {
    /// Encodes the units. All their streams must be new.
    ///
    /// # Errors
    /// [`BulkError::Append`] if an event is too large; [`BulkError::Refused`] if a unit changes a row that it does not begin:
    /// COPY only inserts.
    pub fn of(units: &[Unit]) -> Result<Self, BulkError> {
        units.iter().try_for_each(Unit::check_events)?;
        let ordinals = FirstOrdinals::of(units);
        let mut master_keys = BTreeSet::new();
        let mut tables = vec![keys(units, &mut master_keys)?, claims(units, &ordinals)?];
        rows(units, &ordinals, &mut tables)?;
        // Last: who asks for the newest event has to look past those that are not committed yet.
        tables.push(events(units)?);
        tables.retain(|encoded| !encoded.rows.is_empty());
        let headers = EventHeader::from_position(1, units.iter().flat_map(|unit| &unit.events));
        Ok(Self { headers, master_keys, tables })
    }

    /// The rows of each table, with its name and its columns.
    pub(super) fn on(self, base: Base) -> impl Iterator<Item = (String, String, Bytes)> {
        self.tables.into_iter().map(move |encoded| encoded.on(base))
    }
}

fn events(units: &[Unit]) -> Result<Encoded, BulkError> {
    let mut out = Encoded::new("log.event", RecordedEvent::COLUMNS);
    let events = units.iter().flat_map(|unit| &unit.events);
    // A buffer of this size is costly to enlarge.
    out.rows.reserve(events.clone().map(NewEvent::size_bytes).sum());
    for (ordinal, event) in (1..).zip(events) {
        begin_row(&mut out.rows, 12);
        out.put_position(ordinal)?;
        let row = &mut out.rows;
        put_field(row, &Type::UUID, &event.id)?;
        put_field(row, &Type::TEXT, &&*event.stream.stream_type)?;
        put_field(row, &Type::TEXT, &&*event.stream.id)?;
        put_field(row, &Type::INT8, &event.version)?;
        put_field(row, &Type::TEXT, &&*event.event_type)?;
        put_field(row, &Type::TEXT, &&*event.event_version)?;
        put_field(row, &Type::UUID, &event.account_id)?;
        put_field(row, &Type::TIMESTAMPTZ, &Timestamp::from_micros(ordinal - 1))?;
        out.times.push(row.len() - 8);
        put_field(row, &Type::BYTEA, &&*event.payload)?;
        put_field(row, &Type::BYTEA, &&*event.metadata)?;
        put_field(row, &Type::BYTEA, &event.sealed.as_deref())?;
    }
    Ok(out)
}

/// The rows of new data keys; adds the ids of the master keys that wrap them.
fn keys(units: &[Unit], master_keys: &mut BTreeSet<String>) -> Result<Encoded, BulkError> {
    let mut out = Encoded::new("log.data_key", "subject, key_id, wrapped");
    let destroyed: HashSet<&str> =
        units.iter().flat_map(|unit| unit.destroyed_keys.iter().map(String::as_str)).collect();
    // A key that is created and destroyed in the same bulk append must not be stored.
    let kept = units.iter().flat_map(|unit| &unit.new_keys);
    for key in kept.filter(|key| !destroyed.contains(key.subject.as_str())) {
        begin_row(&mut out.rows, 3);
        put_field(&mut out.rows, &Type::TEXT, &key.subject)?;
        put_field(&mut out.rows, &Type::TEXT, &key.key_id)?;
        put_field(&mut out.rows, &Type::BYTEA, &&*key.wrapped)?;
        if !master_keys.contains(&key.key_id) {
            master_keys.insert(key.key_id.clone());
        }
    }
    Ok(out)
}

fn claims(units: &[Unit], ordinals: &FirstOrdinals) -> Result<Encoded, BulkError> {
    let mut out = Encoded::new("view.unique_claims", "kind, key, holder, free_after, position");
    // COPY only inserts, so releases are applied to claims of the same bulk append, in memory.
    let mut claims = Claims::default();
    for (place, unit) in units.iter().enumerate() {
        for (event, change) in &unit.claims {
            let ordinal = ordinals.of_unit(place) + i64::try_from(*event).unwrap_or(0);
            claims.apply(ordinal, change.clone());
        }
    }
    for (claim, ordinal) in claims.iter() {
        begin_row(&mut out.rows, 5);
        put_field(&mut out.rows, &Type::TEXT, &claim.key.kind)?;
        put_field(&mut out.rows, &Type::BYTEA, &claim.key.key.as_slice())?;
        put_field(&mut out.rows, &Type::TEXT, &claim.holder)?;
        put_field(&mut out.rows, &Type::TIMESTAMPTZ, &claim.free_after)?;
        out.put_position(ordinal)?;
    }
    Ok(out)
}

fn rows(units: &[Unit], ordinals: &FirstOrdinals, tables: &mut Vec<Encoded>) -> Result<(), BulkError> {
    let changes = units.iter().enumerate().flat_map(|(place, unit)| {
        let first = ordinals.of_unit(place);
        unit.rows.iter().map(move |(event, change)| (first + i64::try_from(*event).unwrap_or(0), change))
    });
    let coalesced = coalesce(changes);
    let mut of_table: Vec<(&'static Table, Encoded)> = Vec::new();
    for (table, _, row) in &coalesced {
        // COPY cannot change or delete rows that are there already.
        if row.delete || !row.patch.is_empty() {
            let refused = format!("a row of {} is not new; bulk appends only insert", table.name);
            return Err(BulkError::Refused(refused));
        }
        let place =
            of_table.iter().position(|(known, _)| std::ptr::eq(*known, *table)).unwrap_or_else(|| {
                let columns: Vec<&str> = table.columns.iter().map(|column| column.name).collect();
                of_table.push((table, Encoded::new(&format!("view.{}", table.name), &columns.join(", "))));
                of_table.len() - 1
            });
        let out = &mut of_table[place].1;
        begin_row(&mut out.rows, table.columns.len());
        for (column, value) in table.columns.iter().zip(row.insert.as_deref().unwrap_or_default()) {
            match (column.column_type, &**value) {
                (ColumnType::Position, Value::Int(ordinal)) => out.put_position(*ordinal)?,
                (column, value) => put_field(&mut out.rows, &column.wire(), value)?,
            }
        }
    }
    tables.extend(of_table.into_iter().map(|(_, encoded)| encoded));
    Ok(())
}
