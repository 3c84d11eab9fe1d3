//! Projected tables: their columns, keys and indexes.

use tokio_postgres::types::Type;

/// The type of a projected column; built-in types of PostgreSQL only.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ColumnType {
    /// Stored as `boolean`.
    Bool,
    /// Stored as `bigint`.
    BigInt,
    /// Stored as `text collate "C"`, which sorts by bytes.
    Text,
    /// Stored as `uuid`.
    Uuid,
    /// Stored as `bytea`.
    Bytea,
    /// Stored as `timestamptz`.
    Timestamptz,
    /// Stored as `bigint`: the position of the event that made the change.
    Position,
}

impl ColumnType {
    /// The type of its values on the wire.
    #[must_use]
    pub const fn wire(self) -> Type {
        match self {
            Self::Bool => Type::BOOL,
            Self::BigInt | Self::Position => Type::INT8,
            Self::Text => Type::TEXT,
            Self::Uuid => Type::UUID,
            Self::Bytea => Type::BYTEA,
            Self::Timestamptz => Type::TIMESTAMPTZ,
        }
    }
}

/// One column of a projected table.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    /// The column's name.
    pub name: &'static str,
    /// The column's type.
    pub column_type: ColumnType,
    /// Whether the column may be null.
    pub nullable: bool,
    /// The version of the table since which the column means what it means now.
    pub since: u32,
    /// Whether PostgreSQL keeps statistics of its values, for the planner.
    pub has_statistics: bool,
    /// Whether events change it in rows that exist.
    pub changes: bool,
}

impl Column {
    /// A column that always has a value.
    #[must_use]
    pub const fn required(name: &'static str, column_type: ColumnType) -> Self {
        Self { name, column_type, nullable: false, since: 1, has_statistics: true, changes: false }
    }

    /// A column that may be null.
    #[must_use]
    pub const fn optional(name: &'static str, column_type: ColumnType) -> Self {
        Self { name, column_type, nullable: true, since: 1, has_statistics: true, changes: false }
    }

    /// The same column, added or given another meaning in this version of its table: rows of an earlier version are not
    /// compared in it.
    #[must_use]
    pub const fn since(mut self, version: u32) -> Self {
        self.since = version;
        self
    }

    /// The same column, which events change in rows that exist; others keep the value with which the row was inserted.
    #[must_use]
    pub const fn changing(mut self) -> Self {
        self.changes = true;
        self
    }

    /// The same column without statistics of its values: they would go on showing names, addresses and codes that are forgotten.
    #[must_use]
    pub const fn without_statistics(mut self) -> Self {
        self.has_statistics = false;
        self
    }
}

/// A projected table: its columns, its key, its indexes.
#[derive(Debug)]
pub struct Table {
    /// The name of the table and of its projection.
    pub name: &'static str,
    /// The version, raised with every change of shape or meaning.
    pub version: u32,
    /// The columns; those of the primary key come first.
    pub columns: &'static [Column],
    /// How many leading columns form the primary key.
    pub key_columns: usize,
    /// The fill factor in percent. With room left on the page, PostgreSQL can update a row without touching its
    /// indexes, unless an indexed column changes.
    pub fillfactor: u8,
    /// Further indexes besides the primary key: the parenthesised part of each `create index`.
    pub indexes: &'static [&'static str],
}

impl Table {
    /// The name with the version, as sets of projections are named: `users:1`.
    #[must_use]
    pub fn versioned_name(&self) -> String {
        format!("{}:{}", self.name, self.version)
    }

    /// Which columns mean the same in the version that a set of projections has of this table. None if the set does not have
    /// it, has it in a later version, whose columns are unknown here, or identifies its rows by another key.
    #[must_use]
    pub fn columns_shared_with(&self, set: &str) -> Vec<usize> {
        let versions = set.split(',').filter_map(|named| named.split_once(':'));
        let Some(version) = versions
            .filter(|(name, _)| *name == self.name)
            .find_map(|(_, version)| version.parse::<u32>().ok().filter(|version| *version <= self.version))
        else {
            return Vec::new();
        };
        let shared: Vec<usize> =
            (0..self.columns.len()).filter(|column| self.columns[*column].since <= version).collect();
        let has_key = shared.iter().take(self.key_columns).copied().eq(0..self.key_columns);
        if has_key { shared } else { Vec::new() }
    }

    /// The names of the columns of whose values PostgreSQL keeps no statistics.
    pub fn columns_without_statistics(&self) -> impl Iterator<Item = &'static str> + use<> {
        self.columns.iter().filter(|column| !column.has_statistics).map(|column| column.name)
    }

    /// The index of a column.
    ///
    /// # Panics
    /// If the table has no such column: a bug in a projection, found at start.
    #[must_use]
    #[allow(clippy::panic)]
    pub fn column(&self, name: &str) -> usize {
        self.columns
            .iter()
            .position(|column| column.name == name)
            .unwrap_or_else(|| panic!("{} has no column {name}", self.name))
    }

    /// The index of a column that events change.
    ///
    /// # Panics
    /// If the table has no such column, or it is not declared to change: a bug in a projection.
    #[must_use]
    pub fn changing_column(&self, name: &str) -> usize {
        let place = self.column(name);
        assert!(self.columns[place].changes, "column {name} of {} is not declared to change", self.name);
        place
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static THINGS: Table = Table {
        name: "things",
        version: 3,
        columns: &[
            Column::required("id", ColumnType::Uuid).since(2),
            Column::required("name", ColumnType::Text).changing(),
            Column::optional("note", ColumnType::Text).since(3),
        ],
        key_columns: 1,
        fillfactor: 90,
        indexes: &[],
    };

    #[test]
    #[should_panic(expected = "column note of things is not declared to change")]
    fn a_column_that_is_not_declared_to_change_is_not_patched() {
        assert_eq!(THINGS.changing_column("name"), 1);
        let _ = THINGS.changing_column("note");
    }

    #[test]
    fn columns_are_shared_with_versions_that_know_them() {
        for (set, shared) in [
            ("others:1,things:3", vec![0, 1, 2]),
            ("things:2,others:9", vec![0, 1]),
            // Another key.
            ("things:1", vec![]),
            // Later, missing, or no set at all.
            ("things:4", vec![]),
            ("others:3", vec![]),
            ("", vec![]),
            ("things", vec![]),
            ("things:x", vec![]),
        ] {
            assert_eq!(THINGS.columns_shared_with(set), shared, "{set}");
        }
    }
}
