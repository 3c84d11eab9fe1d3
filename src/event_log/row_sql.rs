//! The SQL of projected tables: their DDL, a function a table that carries out settled changes, and calls of it.

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
    sql.push_str(&apply_function(table, schema));
    sql
}

/// The name of the function that carries out the settled changes of one table.
fn apply_name(table: &Table, schema: &str) -> String {
    format!("{schema}.{}_apply", table.name)
}

/// The parameters of the function behind the base: the keys of rows that end, the columns of rows that begin, then for
/// rows that change their keys, which columns change (a bit each), and the columns.
fn parameters(table: &Table) -> Vec<(String, ColumnType)> {
    let named = |prefix, columns: &[Column]| {
        let name = move |(place, column): (usize, &Column)| (format!("{prefix}{place}"), column.column_type);
        columns.iter().enumerate().map(name).collect::<Vec<_>>()
    };
    let (key, columns) = (&table.columns[..table.key_columns], table.columns);
    let mut all = named("deleted_", key);
    all.extend(named("inserted_", columns));
    all.extend(named("key_", key));
    all.push(("patched".to_owned(), ColumnType::BigInt));
    all.extend(named("patch_", columns));
    all
}

/// A function that changes the rows of a table, set-based, and raises TN003 unless every change meets its row.
fn apply_function(table: &Table, schema: &str) -> String {
    let name = format!("{schema}.{}", table.name);
    let key = &table.columns[..table.key_columns];
    let value = |column: &Column, place: usize| match column.column_type {
        ColumnType::Position => format!("base + t.c{place}"),
        _ => format!("t.c{place}"),
    };
    let list = |prefix: &str, count: usize| {
        (0..count).map(|place| format!("{prefix}{place}")).collect::<Vec<_>>().join(", ")
    };
    let key_match: Vec<String> =
        key.iter().enumerate().map(|(place, column)| format!("r.{} = t.k{place}", column.name)).collect();
    let key_match = key_match.join(" and ");
    let all = table.columns.len();
    let names: Vec<&str> = table.columns.iter().map(|column| column.name).collect();
    let inserted: Vec<String> =
        table.columns.iter().enumerate().map(|(place, column)| value(column, place)).collect();
    let patched: Vec<String> = table
        .columns
        .iter()
        .enumerate()
        .skip(table.key_columns)
        .map(|(place, column)| {
            let (name, bit) = (column.name, 1_i64 << place);
            format!(
                "{name} = case when t.patched & {bit} <> 0 then {} else r.{name} end",
                value(column, place)
            )
        })
        .collect();
    let (k, deleted, keys, columns) =
        (list("k", key.len()), list("deleted_", key.len()), list("key_", key.len()), list("c", all));
    let declared: Vec<String> =
        parameters(table).iter().map(|(name, column)| format!("{name} {}", column.array())).collect();
    let update = if patched.is_empty() {
        String::new()
    } else {
        checked(
            "key_0",
            &format!(
                "update {name} r set {} from unnest({keys}, patched, {}) as t ({k}, patched, {columns}) where {key_match}",
                patched.join(", "),
                list("patch_", all)
            ),
        )
    };
    format!(
        "create or replace function {}(base bigint, {}) returns void language plpgsql as $apply$
         declare changed bigint;
         begin
         {}{}{update}
         end $apply$;\n",
        apply_name(table, schema),
        declared.join(", "),
        checked(
            "deleted_0",
            &format!("delete from {name} r using unnest({deleted}) as t ({k}) where {key_match}")
        ),
        checked(
            "inserted_0",
            &format!(
                "insert into {name} ({}) select {} from unnest({}) as t ({columns})",
                names.join(", "),
                inserted.join(", "),
                list("inserted_", all)
            )
        ),
    )
}

/// Runs a statement for an array, if there is one, and raises unless it changed a row for each element.
fn checked(array: &str, statement: &str) -> String {
    format!(
        "if {array} is not null then
             {statement};
             get diagnostics changed = row_count;
             if changed <> cardinality({array}) then
                 raise exception using errcode = 'TN003', message = 'not every row was there to be changed';
             end if;
         end if;
         "
    )
}

/// The settled changes of one table as the arguments of its function; absent arrays are null.
pub struct Application<'a> {
    /// The table.
    pub table: &'static Table,
    /// Its arrays, in the order of the function's parameters.
    pub arguments: Vec<Option<Vec<&'a Value>>>,
}

impl<'a> Application<'a> {
    fn new(table: &'static Table) -> Self {
        Self { table, arguments: vec![None; parameters(table).len()] }
    }

    fn push(&mut self, place: usize, value: &'a Value) {
        if let Some(argument) = self.arguments.get_mut(place) {
            argument.get_or_insert_default().push(value);
        }
    }

    fn add(&mut self, key: &'a [Value], row: &'a Settled) {
        let (keys, all) = (self.table.key_columns, self.table.columns.len());
        if row.delete {
            for (place, value) in key.iter().enumerate() {
                self.push(place, value);
            }
        }
        if let Some(values) = &row.insert {
            for (place, value) in values.iter().enumerate() {
                self.push(keys + place, value);
            }
        } else if !row.patch.is_empty() {
            for (place, value) in key.iter().enumerate() {
                self.push(keys + all + place, value);
            }
            self.push(2 * keys + all, &row.patched);
            for place in 0..all {
                let value = row.patch.iter().find(|(column, _)| *column == place);
                self.push(2 * keys + all + 1 + place, value.map_or(&Value::Null, |(_, value)| value));
            }
        }
    }
}

/// The settled changes of a batch by table, in the order of the tables' names, so that equal sets make equal calls.
#[must_use]
pub fn applications<'a>(settled: &'a [(&'static Table, Vec<Value>, Settled)]) -> Vec<Application<'a>> {
    let mut all: Vec<Application<'a>> = Vec::new();
    for (table, key, row) in settled {
        let place = match all.binary_search_by_key(&table.name, |known| known.table.name) {
            Ok(place) => place,
            Err(place) => {
                all.insert(place, Application::new(table));
                place
            }
        };
        all[place].add(key, row);
    }
    all
}

/// The calls of the tables' functions as expressions on `a.base`, their parameters counted on from `next`.
#[must_use]
pub fn calls(tables: &[&'static Table], schema: &str, mut next: usize) -> String {
    let mut sql = String::new();
    for table in tables {
        let _ = write!(sql, ", {}(a.base", apply_name(table, schema));
        for (_, column) in parameters(table) {
            let _ = write!(sql, ", ${next}::{}", column.array());
            next += 1;
        }
        sql.push(')');
    }
    sql
}
