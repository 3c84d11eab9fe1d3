//! The SQL of projected tables: their DDL, and set-based statements for settled row changes.

use std::fmt::Write as _;

use super::rows::{Column, ColumnType, Settled, Table, Value};

impl ColumnType {
    const fn ddl(self) -> &'static str {
        match self {
            Self::Bool => "boolean",
            Self::BigInt | Self::Position => "bigint",
            Self::Text => "text collate \"C\"",
            Self::Uuid => "uuid",
            Self::Bytea => "bytea",
            Self::Timestamptz => "timestamptz",
        }
    }

    const fn array(self) -> &'static str {
        match self {
            Self::Bool => "boolean[]",
            Self::BigInt | Self::Position => "bigint[]",
            Self::Text => "text[]",
            Self::Uuid => "uuid[]",
            Self::Bytea => "bytea[]",
            Self::Timestamptz => "timestamptz[]",
        }
    }
}

/// The statements that make a projected table and its indexes in a schema.
#[must_use]
pub fn ddl(table: &Table, schema: &str) -> String {
    let columns: Vec<String> = table
        .columns
        .iter()
        .map(|column| {
            let null = if column.nullable { "" } else { " not null" };
            format!("{} {}{null}", column.name, column.column_type.ddl())
        })
        .collect();
    let key: Vec<&str> = table.columns[..table.key_columns].iter().map(|column| column.name).collect();
    let mut sql = format!(
        "create table if not exists {schema}.{} ({}, primary key ({})) with (fillfactor = 90, \
         autovacuum_vacuum_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.05);\n",
        table.name,
        columns.join(", "),
        key.join(", ")
    );
    for (number, index) in (1..).zip(table.indexes) {
        let _ = writeln!(sql, "create index if not exists {0}_{number} on {schema}.{0} {index};", table.name);
    }
    sql
}

/// One kind of statement on one table; the same kind is prepared once.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum Statement {
    /// Rows end.
    Delete(&'static str),
    /// Rows begin.
    Insert(&'static str),
    /// These columns change.
    Patch(&'static str, Vec<usize>),
}

/// A statement with its parameters, one array a column, and how many rows it must change.
pub struct RowStatement<'a> {
    /// Which statement.
    pub kind: Statement,
    /// Its text, for preparing it the first time.
    pub table: &'static Table,
    /// Its arrays.
    pub parameters: Vec<Vec<&'a Value>>,
    /// How many rows it changes if all is well.
    pub rows: i64,
}

impl RowStatement<'_> {
    /// The text of the statement.
    #[must_use]
    pub fn sql(&self, schema: &str) -> String {
        let table = self.table;
        match &self.kind {
            Statement::Insert(name) => {
                let names: Vec<&str> = table.columns.iter().map(|column| column.name).collect();
                let values: Vec<String> = table
                    .columns
                    .iter()
                    .enumerate()
                    .map(|(place, column)| value_sql(column, place))
                    .collect();
                tallied(&format!(
                    "insert into {schema}.{name} ({}) select {} from {}",
                    names.join(", "),
                    values.join(", "),
                    unnest(table.columns)
                ))
            }
            Statement::Patch(name, columns) => {
                let key = &table.columns[..table.key_columns];
                let patched: Vec<&Column> = columns.iter().map(|index| &table.columns[*index]).collect();
                let assignments: Vec<String> = patched
                    .iter()
                    .zip(key.len()..)
                    .map(|(column, place)| format!("{} = {}", column.name, value_sql(column, place)))
                    .collect();
                let all: Vec<Column> =
                    key.iter().copied().chain(patched.iter().map(|column| **column)).collect();
                tallied(&format!(
                    "update {schema}.{name} r set {} from {} where {}",
                    assignments.join(", "),
                    unnest(&all),
                    key_match(key)
                ))
            }
            Statement::Delete(name) => {
                let key = &table.columns[..table.key_columns];
                tallied(&format!(
                    "delete from {schema}.{name} r using {} where {}",
                    unnest(key),
                    key_match(key)
                ))
            }
        }
    }
}

fn tallied(statement: &str) -> String {
    format!("with done as ({statement} returning 1) select log.tally(count(*)) from done")
}

fn value_sql(column: &Column, place: usize) -> String {
    match column.column_type {
        ColumnType::Position => format!("(select current_setting('tenure.base')::bigint) + t.c{place}"),
        _ => format!("t.c{place}"),
    }
}

fn unnest(columns: &[Column]) -> String {
    let parameters: Vec<String> = (1..)
        .zip(columns)
        .map(|(number, column)| format!("${number}::{}", column.column_type.array()))
        .collect();
    let names: Vec<String> = (0..columns.len()).map(|place| format!("c{place}")).collect();
    format!("unnest({}) as t ({})", parameters.join(", "), names.join(", "))
}

fn key_match(key: &[Column]) -> String {
    let matches: Vec<String> =
        key.iter().enumerate().map(|(place, column)| format!("r.{} = t.c{place}", column.name)).collect();
    matches.join(" and ")
}

/// The statements for the settled changes of a batch: for each table its deletions, its insertions, its patches.
#[must_use]
pub fn statements<'a>(settled: &'a [(&'static Table, Vec<Value>, Settled)]) -> Vec<RowStatement<'a>> {
    type Rows<'a> = Vec<Vec<&'a Value>>;
    let mut groups: Vec<(Statement, &'static Table, Rows<'_>)> = Vec::new();
    let mut group = |kind: Statement, table: &'static Table, row| {
        if let Some((_, _, rows)) = groups.iter_mut().find(|(known, _, _)| *known == kind) {
            rows.push(row);
        } else {
            groups.push((kind, table, vec![row]));
        }
    };
    for (table, key, row) in settled {
        if row.delete {
            group(Statement::Delete(table.name), table, key.iter().collect());
        }
        if let Some(values) = &row.insert {
            group(Statement::Insert(table.name), table, values.iter().collect());
        } else if !row.patch.is_empty() {
            let columns = row.patch.iter().map(|(column, _)| *column).collect();
            let values = key.iter().chain(row.patch.iter().map(|(_, value)| value)).collect();
            group(Statement::Patch(table.name, columns), table, values);
        }
    }
    groups.sort_by_key(|(kind, _, _)| match kind {
        Statement::Delete(_) => 0,
        Statement::Insert(_) => 1,
        Statement::Patch(..) => 2,
    });
    groups
        .into_iter()
        .map(|(kind, table, rows)| {
            let columns = rows.first().map_or(0, Vec::len);
            let parameters =
                (0..columns).map(|place| rows.iter().map(|row: &Vec<&Value>| row[place]).collect()).collect();
            RowStatement { kind, table, parameters, rows: i64::try_from(rows.len()).unwrap_or(i64::MAX) }
        })
        .collect()
}
