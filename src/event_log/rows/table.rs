//! Projected tables: their columns, keys and indexes.

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
    pub fillfactor: u8,
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
