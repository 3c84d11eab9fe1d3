//! Changes that events make to rows, and how the changes of a batch are coalesced to one per row.

use std::borrow::Cow;

use foldhash::{HashMap, HashMapExt as _};

use super::table::Table;
use super::value::Value;

/// How one row changes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// A new row, with the values of all columns.
    Insert(Vec<Value>),
    /// New values for some columns of an existing row, by column index.
    Patch(Vec<(usize, Value)>),
    /// The row is deleted.
    Delete,
}

/// A change of one row of one table. It reads nothing, so a replay makes the same change.
#[derive(Clone, Debug)]
pub struct RowChange {
    /// The table that is changed.
    pub table: &'static Table,
    /// The values of the key columns.
    pub key: Vec<Value>,
    /// How the row changes.
    pub change: Change,
}

impl RowChange {
    /// Inserts a row; its values are in the order of the columns.
    #[must_use]
    pub fn insert(table: &'static Table, row: Vec<Value>) -> Self {
        debug_assert_eq!(row.len(), table.columns.len(), "{}", table.name);
        Self { table, key: row[..table.key_columns].to_vec(), change: Change::Insert(row) }
    }

    /// Sets some columns of a row, by name.
    #[must_use]
    pub fn patch<const N: usize>(
        table: &'static Table,
        key: Vec<Value>,
        columns: [(&str, Value); N],
    ) -> Self {
        let columns = columns.into_iter().map(|(name, value)| (table.changing_column(name), value)).collect();
        Self { table, key, change: Change::Patch(columns) }
    }

    /// Adds a column to a patch, or replaces its value; does nothing for other changes.
    pub fn also(&mut self, column: &str, value: Value) {
        let column = self.table.changing_column(column);
        if let Change::Patch(columns) = &mut self.change {
            columns.retain(|(known, _)| *known != column);
            columns.push((column, value));
        }
    }

    /// Deletes the row with this key.
    #[must_use]
    pub const fn delete(table: &'static Table, key: Vec<Value>) -> Self {
        Self { table, key, change: Change::Delete }
    }

    /// About how many bytes this change takes on the wire.
    pub(in crate::event_log) fn size_bytes(&self) -> usize {
        let values = match &self.change {
            Change::Insert(row) => row.len() * 24,
            Change::Patch(columns) => columns.len() * 24,
            Change::Delete => 0,
        };
        values + 64
    }
}

/// The net effect of a batch on one row: at most one delete, then at most one insert or patch.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Coalesced<'a> {
    /// Whether a row that existed before the batch is deleted.
    pub delete: bool,
    /// The values of a new row, perhaps in place of the deleted one.
    pub insert: Option<Vec<Cow<'a, Value>>>,
    /// The changed columns of a row that existed before the batch, by column index.
    pub patch: Vec<(usize, Cow<'a, Value>)>,
}

/// A row, by table and key, with the net effect of a batch on it.
pub type CoalescedRow<'a> = (&'static Table, &'a [Value], Coalesced<'a>);

/// Coalesces the changes of a batch to one per row, in order of first appearance: each table is changed set-based, so a
/// row may appear only once.
///
/// `Value::Position` is replaced by the ordinal that comes with its change.
pub fn coalesce<'a>(changes: impl IntoIterator<Item = (i64, &'a RowChange)>) -> Vec<CoalescedRow<'a>> {
    let mut places: HashMap<(&'static str, &'a [Value]), usize> = HashMap::new();
    let mut coalesced: Vec<CoalescedRow<'a>> = Vec::new();
    for (ordinal, change) in changes {
        let plain = |value: &'a Value| match value {
            Value::Position => Cow::Owned(Value::Int(ordinal)),
            other => Cow::Borrowed(other),
        };
        let place = *places.entry((change.table.name, &change.key)).or_insert_with(|| {
            coalesced.push((change.table, &change.key, Coalesced::default()));
            coalesced.len() - 1
        });
        let row = &mut coalesced[place].2;
        match &change.change {
            Change::Insert(values) => {
                // `delete` is left as it is: the row may have ended earlier in the batch.
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
                // A row that was inserted in the same batch is not in the table yet.
                if row.insert.take().is_none() {
                    row.delete = true;
                }
                row.patch.clear();
            }
        }
    }
    coalesced.retain(|(_, _, row)| row.delete || row.insert.is_some() || !row.patch.is_empty());
    coalesced
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event_log::rows::table::{Column, ColumnType};

    static THINGS: Table = Table {
        name: "things",
        version: 1,
        columns: &[
            Column::required("id", ColumnType::BigInt),
            Column::required("name", ColumnType::Text).changing(),
            Column::required("position", ColumnType::Position),
        ],
        key_columns: 1,
        fillfactor: 90,
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

    fn coalesced(changes: &[RowChange]) -> Vec<Coalesced<'_>> {
        coalesce((1..).zip(changes)).into_iter().map(|(_, _, row)| row).collect()
    }

    fn row(values: [Value; 3]) -> Vec<Cow<'static, Value>> {
        values.into_iter().map(Cow::Owned).collect()
    }

    #[test]
    fn the_last_of_several_patches_of_a_row_wins() {
        let changes = [rename(1, "a"), rename(1, "b")];
        let patch = vec![(1, Cow::Owned("b".into()))];
        assert_eq!(coalesced(&changes), [Coalesced { patch, ..Coalesced::default() }]);
    }

    #[test]
    fn a_patch_of_a_row_that_begins_in_the_batch_joins_its_insert() {
        let changes = [insert(1, "a"), rename(1, "b")];
        let insert = Some(row([1.into(), "b".into(), 1.into()]));
        assert_eq!(coalesced(&changes), [Coalesced { insert, ..Coalesced::default() }]);
    }

    #[test]
    fn a_row_that_begins_and_ends_in_the_batch_leaves_nothing() {
        assert_eq!(coalesced(&[insert(1, "a"), delete(1)]), []);
    }

    #[test]
    fn a_row_that_ends_and_begins_again_is_deleted_and_inserted() {
        let changes = [rename(1, "x"), delete(1), insert(1, "b")];
        let insert = Some(row([1.into(), "b".into(), 3.into()]));
        assert_eq!(coalesced(&changes), [Coalesced { delete: true, insert, ..Coalesced::default() }]);
    }
}
