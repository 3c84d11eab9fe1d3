//! Projected tables and the changes that events make to their rows, free of SQL.

use std::borrow::Cow;

use foldhash::{HashMap, HashMapExt as _};
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};
use uuid::Uuid;

use crate::clock::Timestamp;

/// The type of a projected column: built-in types only.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ColumnType {
    /// `boolean`
    Bool,
    /// `bigint`
    BigInt,
    /// `text collate "C"`: byte order
    Text,
    /// `uuid`
    Uuid,
    /// `bytea`
    Bytea,
    /// `timestamptz`
    Timestamptz,
    /// `bigint`: the position of the event that made the change
    Position,
}

/// One column of a projected table.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    /// Its name.
    pub name: &'static str,
    /// Its type.
    pub column_type: ColumnType,
    /// Whether it may be null.
    pub nullable: bool,
}

impl Column {
    /// A column that always has a value.
    #[must_use]
    pub const fn required(name: &'static str, column_type: ColumnType) -> Self {
        Self { name, column_type, nullable: false }
    }

    /// A column that may be null.
    #[must_use]
    pub const fn optional(name: &'static str, column_type: ColumnType) -> Self {
        Self { name, column_type, nullable: true }
    }
}

/// A projected table: its columns, its key, its indexes.
#[derive(Debug)]
pub struct Table {
    /// The table's name, which is the projection's.
    pub name: &'static str,
    /// Raised with every change of shape or of meaning.
    pub version: u32,
    /// The columns, those of the key first.
    pub columns: &'static [Column],
    /// How many leading columns form the primary key.
    pub key_columns: usize,
    /// How full a page gets with new rows, in percent: where there is room, a row changes without its indexes, unless
    /// what changes is indexed.
    pub fill: u8,
    /// What is indexed besides the key: the parenthesised part of `create index`.
    pub indexes: &'static [&'static str],
}

impl Table {
    /// The index of a column.
    ///
    /// # Panics
    /// At start, when a projection names a column that its table does not have.
    #[must_use]
    #[allow(clippy::panic)]
    pub fn column(&self, name: &str) -> usize {
        self.columns
            .iter()
            .position(|column| column.name == name)
            .unwrap_or_else(|| panic!("{} has no column {name}", self.name))
    }
}

/// A value of a projected column.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub enum Value {
    /// SQL null.
    #[default]
    Null,
    /// A boolean.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// Text.
    Text(String),
    /// A UUID.
    Uuid(Uuid),
    /// Octets.
    Bytes(Vec<u8>),
    /// A point in time.
    Time(Timestamp),
    /// The position of the event that makes the change.
    Position,
}

impl std::fmt::Debug for Value {
    /// Shows identifiers and numbers; text may be personal and is hidden.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Bool(value) => write!(f, "{value}"),
            Self::Int(value) => write!(f, "{value}"),
            Self::Text(_) => f.write_str("text"),
            Self::Bytes(_) => f.write_str("octets"),
            Self::Uuid(value) => write!(f, "{value}"),
            Self::Time(value) => write!(f, "{value}"),
            Self::Position => f.write_str("position"),
        }
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::Text(value.to_owned())
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Self::Text(value)
    }
}

impl From<Uuid> for Value {
    fn from(value: Uuid) -> Self {
        Self::Uuid(value)
    }
}

impl From<Timestamp> for Value {
    fn from(value: Timestamp) -> Self {
        Self::Time(value)
    }
}

impl<T: Into<Self>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

impl ToSql for Value {
    fn to_sql(
        &self,
        ty: &Type,
        out: &mut bytes::BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        fn typed<T: ToSql>(
            value: &T,
            ty: &Type,
            out: &mut bytes::BytesMut,
        ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
            if T::accepts(ty) { value.to_sql(ty, out) } else { Err(format!("no value of type {ty}").into()) }
        }
        match self {
            Self::Null => Ok(IsNull::Yes),
            Self::Bool(value) => typed(value, ty, out),
            Self::Int(value) => typed(value, ty, out),
            Self::Text(value) => typed(value, ty, out),
            Self::Uuid(value) => typed(value, ty, out),
            Self::Bytes(value) => typed(value, ty, out),
            Self::Time(value) => typed(value, ty, out),
            Self::Position => Err("a position that was not settled".into()),
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

/// What happens to one row.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// A row begins; the values of all columns.
    Insert(Vec<Value>),
    /// Some columns of an existing row change, by column index.
    Patch(Vec<(usize, Value)>),
    /// The row ends.
    Delete,
}

/// A change of one row of one table; it never reads.
#[derive(Clone, Debug)]
pub struct RowChange {
    /// The table.
    pub table: &'static Table,
    /// The values of the key columns.
    pub key: Vec<Value>,
    /// What happens.
    pub change: Change,
}

impl RowChange {
    /// A new row.
    #[must_use]
    pub fn insert(table: &'static Table, row: Vec<Value>) -> Self {
        debug_assert_eq!(row.len(), table.columns.len(), "{}", table.name);
        Self { table, key: row[..table.key_columns].to_vec(), change: Change::Insert(row) }
    }

    /// Other values for some columns of a row.
    #[must_use]
    pub fn patch<const N: usize>(
        table: &'static Table,
        key: Vec<Value>,
        columns: [(&str, Value); N],
    ) -> Self {
        let columns = columns.into_iter().map(|(name, value)| (table.column(name), value)).collect();
        Self { table, key, change: Change::Patch(columns) }
    }

    /// One more column of a patch.
    pub fn also(&mut self, column: &str, value: Value) {
        let column = self.table.column(column);
        if let Change::Patch(columns) = &mut self.change {
            columns.retain(|(known, _)| *known != column);
            columns.push((column, value));
        }
    }

    /// The end of a row.
    #[must_use]
    pub const fn delete(table: &'static Table, key: Vec<Value>) -> Self {
        Self { table, key, change: Change::Delete }
    }

    /// About how many bytes this change takes on the wire.
    pub(super) fn size_bytes(&self) -> usize {
        let values = match &self.change {
            Change::Insert(row) => row.len() * 24,
            Change::Patch(columns) => columns.len() * 24,
            Change::Delete => 0,
        };
        values + 64
    }
}

/// What is left to do to one row after all changes of a batch: at most one deletion, then at most one writing.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Settled<'a> {
    /// The row existed before and goes.
    pub delete: bool,
    /// A row begins, perhaps in the place of the deleted one.
    pub insert: Option<Vec<Cow<'a, Value>>>,
    /// Columns of the row that existed before change.
    pub patch: Vec<(usize, Cow<'a, Value>)>,
}

/// A row, by its table and key, with what is left to do to it.
pub type SettledRow<'a> = (&'static Table, &'a [Value], Settled<'a>);

/// Brings the changes of a batch down to one settled change a row, in order of first appearance.
///
/// Positions are made plain here: `Value::Position` becomes the ordinal that comes with its change.
pub fn settle<'a>(changes: impl IntoIterator<Item = (i64, &'a RowChange)>) -> Vec<SettledRow<'a>> {
    let mut places: HashMap<(&'static str, &'a [Value]), usize> = HashMap::new();
    let mut settled: Vec<SettledRow<'a>> = Vec::new();
    for (ordinal, change) in changes {
        let plain = |value: &'a Value| match value {
            Value::Position => Cow::Owned(Value::Int(ordinal)),
            other => Cow::Borrowed(other),
        };
        let place = *places.entry((change.table.name, &change.key)).or_insert_with(|| {
            settled.push((change.table, &change.key, Settled::default()));
            settled.len() - 1
        });
        let row = &mut settled[place].2;
        match &change.change {
            Change::Insert(values) => {
                row.insert = Some(values.iter().map(plain).collect());
                row.patch.clear();
            }
            Change::Patch(columns) => {
                for (column, value) in columns {
                    let value = plain(value);
                    if let Some(inserted) = &mut row.insert {
                        inserted[*column] = value;
                    } else if let Some(patched) = row.patch.iter_mut().find(|(index, _)| index == column) {
                        patched.1 = value;
                    } else {
                        row.patch.push((*column, value));
                    }
                }
            }
            Change::Delete => {
                if row.insert.take().is_none() {
                    row.delete = true;
                }
                row.patch.clear();
            }
        }
    }
    settled.retain(|(_, _, row)| row.delete || row.insert.is_some() || !row.patch.is_empty());
    settled
}

#[cfg(test)]
mod tests {
    use super::*;

    static THINGS: Table = Table {
        name: "things",
        version: 1,
        columns: &[
            Column::required("id", ColumnType::BigInt),
            Column::required("name", ColumnType::Text),
            Column::required("position", ColumnType::Position),
        ],
        key_columns: 1,
        fill: 90,
        indexes: &[],
    };

    fn insert(id: i64, name: &str) -> RowChange {
        RowChange::insert(&THINGS, vec![id.into(), name.into(), Value::Position])
    }

    fn rename(id: i64, name: &str) -> RowChange {
        RowChange::patch(&THINGS, vec![id.into()], [("name", name.into())])
    }

    fn delete(id: i64) -> RowChange {
        RowChange::delete(&THINGS, vec![id.into()])
    }

    fn settled(changes: &[RowChange]) -> Vec<Settled<'_>> {
        settle((1..).zip(changes)).into_iter().map(|(_, _, row)| row).collect()
    }

    fn row(values: [Value; 3]) -> Vec<Cow<'static, Value>> {
        values.into_iter().map(Cow::Owned).collect()
    }

    #[test]
    fn the_last_of_several_patches_of_a_row_wins() {
        let changes = [rename(1, "a"), rename(1, "b")];
        let patch = vec![(1, Cow::Owned("b".into()))];
        assert_eq!(settled(&changes), [Settled { patch, ..Settled::default() }]);
    }

    #[test]
    fn a_patch_of_a_row_that_begins_in_the_batch_joins_its_insert() {
        let changes = [insert(1, "a"), rename(1, "b")];
        let insert = Some(row([1.into(), "b".into(), 1.into()]));
        assert_eq!(settled(&changes), [Settled { insert, ..Settled::default() }]);
    }

    #[test]
    fn a_row_that_begins_and_ends_in_the_batch_leaves_nothing() {
        assert_eq!(settled(&[insert(1, "a"), delete(1)]), []);
    }

    #[test]
    fn a_row_that_ends_and_begins_again_is_deleted_and_inserted() {
        let changes = [rename(1, "x"), delete(1), insert(1, "b")];
        let insert = Some(row([1.into(), "b".into(), 3.into()]));
        assert_eq!(settled(&changes), [Settled { delete: true, insert, ..Settled::default() }]);
    }
}
