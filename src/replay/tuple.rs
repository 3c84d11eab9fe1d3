//! Rows as PostgreSQL's binary COPY carries them: every field is a length (i32, big-endian) and that many bytes.
//!
//! What a replay makes and what a live table holds are compared and loaded in this form, without being decoded.

use bytes::{BufMut as _, BytesMut};
use tokio_postgres::types::{IsNull, ToSql as _};

use super::error::ReplayError;
use crate::event_log::rows::{ColumnType, Table, Value};

/// The length that stands for null.
const NULL: i32 = -1;

/// The length that stands for a field whose data key has been destroyed: null in a table, and equal to anything when it
/// is compared. It never leaves this process.
const UNREADABLE: i32 = -2;

/// The header of a binary COPY: signature, flags, and the length of the header extension.
pub(super) const COPY_HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";

/// The trailer of a binary COPY: a field count of -1.
pub(super) const COPY_TRAILER: &[u8] = &[0xff, 0xff];

/// Appends a field with this value.
pub(super) fn put(out: &mut BytesMut, column: ColumnType, value: &Value) -> Result<(), ReplayError> {
    let place = out.len();
    out.put_i32(if matches!(value, Value::Unreadable) { UNREADABLE } else { NULL });
    let encoded =
        value.to_sql_checked(&column.wire(), out).map_err(|error| ReplayError::Value(error.to_string()))?;
    if matches!(encoded, IsNull::No) {
        let length =
            i32::try_from(out.len() - place - 4).map_err(|error| ReplayError::Value(error.to_string()))?;
        out[place..place + 4].copy_from_slice(&length.to_be_bytes());
    }
    Ok(())
}

/// The number of bytes that the first `count` fields take, lengths included; `None` if the bytes end before.
pub(super) fn fields_len(bytes: &[u8], count: usize) -> Option<usize> {
    let mut place = 0;
    for _ in 0..count {
        let length = i32::from_be_bytes(*bytes.get(place..)?.first_chunk()?);
        place += 4 + usize::try_from(length).unwrap_or(0);
    }
    (place <= bytes.len()).then_some(place)
}

/// One field: the bytes of its value; `None` for null.
pub(super) type Field<'a> = Option<&'a [u8]>;

/// The fields of a tuple, in order. An unreadable field is an error: only the tuples of a live table are read this way.
pub(super) fn fields(bytes: &[u8]) -> impl Iterator<Item = Field<'_>> {
    Raw(bytes).map(|raw| (!raw.starts_with(&NULL.to_be_bytes())).then(|| raw.get(4..)).flatten())
}

/// The fields of a tuple, each with its length in front.
struct Raw<'a>(&'a [u8]);

impl<'a> Iterator for Raw<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let length = fields_len(self.0, 1).filter(|length| *length > 0)?;
        let (field, rest) = self.0.split_at(length);
        self.0 = rest;
        Some(field)
    }
}

/// The tuple with some fields replaced. `changes` holds a column number (u8) and a field, again and again.
pub(super) fn patched(tuple: &[u8], changes: &[u8]) -> Option<Vec<u8>> {
    let mut columns: Vec<&[u8]> = Raw(tuple).collect();
    let mut rest = changes;
    while let Some((column, field)) = rest.split_first() {
        let (field, after) = field.split_at(fields_len(field, 1)?);
        *columns.get_mut(usize::from(*column))? = field;
        rest = after;
    }
    Some(columns.concat())
}

/// Appends a row of a binary COPY: the number of fields, then the fields, unreadable ones as null.
pub(super) fn put_row(out: &mut BytesMut, table: &Table, tuple: &[u8]) {
    out.put_i16(i16::try_from(table.columns.len()).unwrap_or(i16::MAX));
    for field in Raw(tuple) {
        if field == UNREADABLE.to_be_bytes() {
            out.put_i32(NULL);
        } else {
            out.put_slice(field);
        }
    }
}

/// The names of the columns in which a replayed row differs from the live one. An unreadable field differs from nothing.
pub(super) fn differing(table: &Table, replayed: &[u8], live: &[u8]) -> Vec<&'static str> {
    if replayed == live {
        return Vec::new();
    }
    let columns = table.columns.iter().zip(Raw(replayed).zip(Raw(live)));
    let differ =
        columns.filter(|(_, (replayed, live))| *replayed != UNREADABLE.to_be_bytes() && replayed != live);
    differ.map(|(column, _)| column.name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::projections::members::TABLE as MEMBERS;
    use crate::projections::users::TABLE as USERS;

    fn tuple(table: &Table, values: &[Value]) -> BytesMut {
        let mut out = BytesMut::new();
        for (column, value) in table.columns.iter().zip(values) {
            put(&mut out, column.column_type, value).unwrap();
        }
        out
    }

    fn member(position: i64) -> BytesMut {
        let id = uuid::Uuid::from_u128(7);
        let at = crate::clock::Timestamp::from_micros(5);
        tuple(&MEMBERS, &[id.into(), id.into(), at.into(), position.into()])
    }

    #[test]
    fn a_patch_replaces_the_columns_that_it_names() {
        let mut changes = BytesMut::new();
        changes.put_u8(3);
        put(&mut changes, ColumnType::BigInt, &9_i64.into()).unwrap();
        assert_eq!(patched(&member(1), &changes).unwrap(), member(9));
    }

    #[test]
    fn an_unreadable_field_is_loaded_as_null_and_differs_from_nothing() {
        let mut values = vec![Value::Null; USERS.columns.len()];
        values[1] = "ada".into();
        let live = tuple(&USERS, &values);
        values[1] = Value::Unreadable;
        let replayed = tuple(&USERS, &values);
        assert!(differing(&USERS, &replayed, &live).is_empty());
        values[1] = "eve".into();
        assert_eq!(differing(&USERS, &tuple(&USERS, &values), &live), ["username"]);
        let mut row = BytesMut::new();
        put_row(&mut row, &USERS, &replayed);
        assert_eq!(fields(&row[2..]).filter(Option::is_none).count(), USERS.columns.len());
    }

    #[test]
    fn a_truncated_tuple_has_no_fields() {
        assert_eq!(fields_len(&member(1)[..10], 1), None);
    }
}
