//! Rows as PostgreSQL's binary COPY carries them: every field is a length (i32, big-endian) and that many bytes.
//!
//! What a replay makes and what a live table holds are compared and loaded in this form, without being decoded.

use bytes::{BufMut as _, BytesMut};

use super::error::ReplayError;
use crate::event_log::copy_in::{NULL, put_field};
use crate::event_log::rows::{ColumnType, Table, Value};

/// The length that stands for a field whose data key has been destroyed: null in a table, and equal to anything when it
/// is compared. It never leaves this process.
const UNREADABLE: i32 = -2;

/// Appends a field with this value.
pub(super) fn put(out: &mut BytesMut, column: ColumnType, value: &Value) -> Result<(), ReplayError> {
    if matches!(value, Value::Unreadable) {
        out.put_i32(UNREADABLE);
        return Ok(());
    }
    put_field(out, &column.wire(), value).map_err(|error| ReplayError::Value(error.to_string()))
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

/// The fields of a tuple, in order; unreadable ones as null.
pub(super) fn fields(bytes: &[u8]) -> impl Iterator<Item = Field<'_>> {
    // A length below zero is no length.
    Raw(bytes).map(|raw| raw.first().is_some_and(|first| *first < 0x80).then(|| raw.get(4..)).flatten())
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

/// Appends the fields of a tuple to a row of a COPY, unreadable ones as null.
pub(super) fn put_row(out: &mut BytesMut, tuple: &[u8]) {
    for field in Raw(tuple) {
        if field == UNREADABLE.to_be_bytes() {
            out.put_i32(NULL);
        } else {
            out.put_slice(field);
        }
    }
}

/// The columns in which a replayed row differs from the live one. An unreadable field differs from nothing.
pub(super) fn differing(table: &Table, replayed: &[u8], live: &[u8]) -> Vec<usize> {
    if replayed == live {
        return Vec::new();
    }
    let columns = (0..table.columns.len()).zip(Raw(replayed).zip(Raw(live)));
    let differ =
        columns.filter(|(_, (replayed, live))| *replayed != UNREADABLE.to_be_bytes() && replayed != live);
    differ.map(|(column, _)| column).collect()
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
        assert_eq!(differing(&USERS, &tuple(&USERS, &values), &live), [USERS.column("username")]);
        let mut row = BytesMut::new();
        put_row(&mut row, &replayed);
        assert_eq!(fields(&row).filter(Option::is_none).count(), USERS.columns.len());
        assert_eq!(fields(&replayed).filter(Option::is_none).count(), USERS.columns.len());
    }

    #[test]
    fn a_truncated_tuple_has_no_fields() {
        assert_eq!(fields_len(&member(1)[..10], 1), None);
    }
}
