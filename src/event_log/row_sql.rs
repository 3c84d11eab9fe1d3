//! The SQL of projected tables: DDL, one function per table that applies coalesced changes, and the calls of it.

use std::borrow::Cow;
use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};
use tokio_postgres::types::ToSql;

use super::rows::{Coalesced, CoalescedRow, Column, ColumnType, Table, Value};
use super::wire::{EncodeError, Fields, Row, Rows};

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
}

/// The statements that create a projected table, its indexes and its function in a schema.
#[must_use]
pub fn ddl(table: &Table, schema: &str) -> String {
    let indexes: Vec<String> = indexes(table, schema, "").collect();
    [create_table(table, schema), indexes.concat(), storage(table, schema), apply_function(table, schema)]
        .concat()
}

/// The statement that creates a projected table with its primary key, but no other index.
#[must_use]
pub fn create_table(table: &Table, schema: &str) -> String {
    let (columns, key) = (columns(table), key(table));
    format!("create table if not exists {schema}.{} ({columns}, primary key ({key}));\n", table.name)
}

/// The statement that creates a projected table without its primary key, which is built faster after the rows are there.
#[must_use]
pub fn create_table_without_key(table: &Table, schema: &str) -> String {
    // Before the first row: pages that were filled whole have no room for a new version of a row, and autovacuum may analyze the
    // table while it is being filled.
    format!(
        "create table {schema}.{} ({}) with (fillfactor = {});\n{}",
        table.name,
        columns(table),
        table.fillfactor,
        no_column_statistics(table, schema)
    )
}

/// The statement that adds the primary key to a table that was created without.
#[must_use]
pub fn add_key(table: &Table, schema: &str) -> String {
    format!("alter table {schema}.{} add primary key ({});\n", table.name, key(table))
}

/// The names of the key columns.
fn key(table: &Table) -> String {
    let key: Vec<&str> = table.columns[..table.key_columns].iter().map(|column| column.name).collect();
    key.join(", ")
}

/// The columns with their types.
fn columns(table: &Table) -> String {
    let columns: Vec<String> = table
        .columns
        .iter()
        .map(|column| {
            let null = if column.nullable { "" } else { " not null" };
            format!("{} {}{null}", column.name, column.column_type.ddl())
        })
        .collect();
    columns.join(", ")
}

/// The statements that set how a projected table is stored, vacuumed and analyzed; its indexes must exist.
#[must_use]
pub fn storage(table: &Table, schema: &str) -> String {
    format!(
        "alter table {schema}.{} set (fillfactor = {}, autovacuum_vacuum_scale_factor = 0.05, \
         autovacuum_analyze_scale_factor = 0.05);\n{}",
        table.name,
        table.fillfactor,
        no_statistics(table, schema)
    )
}

/// The statements after which `analyze` keeps no statistics of the columns without, nor of expressions of them in indexes.
fn no_statistics(table: &Table, schema: &str) -> String {
    let columns: Vec<&str> = table.columns_without_statistics().collect();
    if columns.is_empty() {
        return String::new();
    }
    let name = format!("{schema}.{}", table.name);
    format!(
        "{}
         do $$
         declare statement text;
         begin
             for statement in
                 select format('alter index %s alter column %s set statistics 0', i.indexrelid::regclass, k.number)
                 from pg_index i, unnest(i.indkey::int2[]) with ordinality k (attnum, number)
                 where i.indrelid = '{name}'::regclass and k.attnum = 0
                   and pg_get_indexdef(i.indexrelid, k.number::int, false) ~ '\\m({})\\M'
             loop
                 execute statement;
             end loop;
         end $$;\n",
        no_column_statistics(table, schema),
        columns.join("|")
    )
}

/// The statement after which `analyze` keeps no statistics of the columns without.
fn no_column_statistics(table: &Table, schema: &str) -> String {
    let columns: Vec<String> = table
        .columns_without_statistics()
        .map(|column| format!("alter column {column} set statistics 0"))
        .collect();
    if columns.is_empty() {
        return String::new();
    }
    format!("alter table {schema}.{} {};\n", table.name, columns.join(", "))
}

/// Selects the statistics that PostgreSQL has of the columns without, and of expressions of them in indexes.
#[must_use]
pub fn statistics_kept(table: &Table, schema: &str) -> String {
    // In literals; the name of a schema that others have renamed may have quotes.
    let schema = schema.replace('\'', "''");
    let columns: Vec<&str> = table.columns_without_statistics().collect();
    format!(
        "select from pg_stats s
         where s.schemaname = (select n.nspname from pg_namespace n where n.oid = '{schema}'::regnamespace)
           and (s.tablename = '{0}' and s.attname = any ('{{{1}}}')
                or exists (select from pg_class c join pg_index i on i.indexrelid = c.oid,
                                       unnest(i.indkey::int2[]) with ordinality k (attnum, number)
                           where c.relname = s.tablename and i.indrelid = '{schema}.{0}'::regclass and k.attnum = 0
                             and pg_get_indexdef(c.oid, k.number::int, false) ~ '\\m({2})\\M'))",
        table.name,
        columns.join(","),
        columns.join("|")
    )
}

/// The statements that remove the statistics which earlier releases have made of the columns without; they lock the table, and
/// fail if a view reads such a column.
#[must_use]
pub fn forget_statistics(table: &Table, schema: &str) -> String {
    let columns = table.columns.iter().filter(|column| !column.has_statistics);
    // The same type: nothing is rewritten, but the statistics go, and with them the settings of indexes.
    let same: Vec<String> = columns
        .map(|column| format!("alter column {} type {}", column.name, column.column_type.ddl()))
        .collect();
    let settings = no_statistics(table, schema);
    format!("alter table {schema}.{} {};\n{settings}", table.name, same.join(", "))
}

/// The statements that create the indexes of a projected table; `concurrently` is that keyword or empty.
pub fn indexes<'a>(
    table: &'a Table,
    schema: &'a str,
    concurrently: &'a str,
) -> impl Iterator<Item = String> + use<'a> {
    index_names(table).zip(table.indexes).map(move |(name, index)| {
        format!("create index {concurrently} if not exists {name} on {schema}.{} {index};\n", table.name)
    })
}

/// The names of the indexes of a projected table, each with a hash of its definition: a changed index gets a new name.
pub fn index_names(table: &Table) -> impl Iterator<Item = String> + use<'_> {
    table.indexes.iter().map(|index| {
        let digest = Sha256::digest(index);
        let mut name = format!("{}_", table.name);
        for octet in &digest[..4] {
            let _ = write!(name, "{octet:02x}");
        }
        name
    })
}

/// The parameters of the function that applies the coalesced changes of one table, as PostgreSQL shows them.
#[must_use]
pub fn apply_arguments(table: &Table, schema: &str) -> String {
    let name = format!("{schema}.{}", table.name);
    format!("base bigint, ended {name}[], begun {name}[], changed {name}[], masks bigint[]")
}

/// The name of the function that applies the coalesced changes of one table.
fn apply_name(table: &Table, schema: &str) -> String {
    format!("{schema}.{}_apply", table.name)
}

/// A function that changes the rows of a table, set-based, and raises TN003 unless every change met its row.
///
/// Its arrays are the rows to delete (of which only the keys matter), the rows to insert, the rows to patch, and for
/// each of these a mask with a bit for every column that changes. Each expression in it has a fixed cost per transaction, so the
/// update names only columns that events change.
#[must_use]
pub fn apply_function(table: &Table, schema: &str) -> String {
    let name = format!("{schema}.{}", table.name);
    let key = &table.columns[..table.key_columns];
    let value = |column: &Column| match column.column_type {
        // A batch is sent with ordinals: the base is known only under the head lock.
        ColumnType::Position => format!("base + t.{}", column.name),
        _ => format!("t.{}", column.name),
    };
    let list =
        |shown: &dyn Fn(&Column) -> String| table.columns.iter().map(shown).collect::<Vec<_>>().join(", ");
    // By `any`, so that the key is looked up: a join by `=` may walk the key's index if the table was known to be nearly empty.
    let key_match: Vec<String> =
        key.iter().map(|column| format!("r.{0} = any (array[t.{0}])", column.name)).collect();
    let key_match = key_match.join(" and ");
    let names = list(&|column| column.name.to_owned());
    // With a mask per row, one statement serves every combination of changed columns.
    let patched: Vec<String> = table
        .columns
        .iter()
        .enumerate()
        .filter(|(_, column)| column.changes)
        .map(|(place, column)| {
            let (name, bit) = (column.name, 1_i64 << place);
            format!("{name} = case when t.mask & {bit} <> 0 then {} else r.{name} end", value(column))
        })
        .collect();
    let change = if patched.is_empty() {
        String::new()
    } else {
        checked(
            "changed",
            &format!(
                "update {name} r set {} from rows from (unnest(changed), unnest(masks)) as t ({names}, mask) \
                 where {key_match}",
                patched.join(", "),
            ),
        )
    };
    // Deletes come first: a batch may delete a row and insert it again under the same key.
    format!(
        "create or replace function {}({})
         returns void language plpgsql as $apply$
         #variable_conflict use_column
         declare met bigint;
         begin
         {}{}{change}
         end $apply$;\n",
        apply_name(table, schema),
        apply_arguments(table, schema),
        checked("ended", &format!("delete from {name} r using unnest(ended) as t where {key_match}")),
        // A trigger of others can keep a row out.
        checked(
            "begun",
            &format!("insert into {name} ({names}) select {} from unnest(begun) as t", list(&value))
        ),
    )
}

/// SQL that runs a statement for an array, unless it is null, and raises TN003 unless it changed one row per element.
fn checked(array: &str, statement: &str) -> String {
    format!(
        "if {array} is not null then
             {statement};
             get diagnostics met = row_count;
             if met <> cardinality({array}) then
                 raise exception using errcode = 'TN003', message = 'not every row was there to be changed';
             end if;
         end if;
         "
    )
}

/// The coalesced changes of one table, as arguments of its function.
pub(crate) struct Application<'a> {
    /// The table that is changed.
    pub(crate) table: &'static Table,
    ended: Rows<Key<'a>>,
    begun: Rows<&'a [Cow<'a, Value>]>,
    changed: Rows<Changed<'a>>,
    masks: Option<Vec<i64>>,
}

/// A row of which only the key matters.
struct Key<'a>(&'a [Value]);

/// The key of a row and its changed columns, by column index.
struct Changed<'a> {
    key: &'a [Value],
    columns: &'a [(usize, Cow<'a, Value>)],
    all: usize,
}

impl Row for Key<'_> {
    fn write(&self, fields: &mut Fields<'_>) -> Result<(), EncodeError> {
        self.0.iter().try_for_each(|value| fields.put(value))?;
        fields.rest_is_null();
        Ok(())
    }
}

impl Row for &[Cow<'_, Value>] {
    fn write(&self, fields: &mut Fields<'_>) -> Result<(), EncodeError> {
        self.iter().try_for_each(|value| fields.put(&**value))
    }
}

impl Row for Changed<'_> {
    fn write(&self, fields: &mut Fields<'_>) -> Result<(), EncodeError> {
        self.key.iter().try_for_each(|value| fields.put(value))?;
        for place in self.key.len()..self.all {
            let column = self.columns.iter().find(|(column, _)| *column == place);
            fields.put(column.map_or(&Value::Null, |(_, value)| value))?;
        }
        Ok(())
    }
}

impl<'a> Application<'a> {
    fn new(table: &'static Table) -> Self {
        Self { table, ended: Rows::default(), begun: Rows::default(), changed: Rows::default(), masks: None }
    }

    fn add(&mut self, key: &'a [Value], row: &'a Coalesced<'a>) {
        if row.delete {
            self.ended.push(Key(key));
        }
        if let Some(values) = &row.insert {
            self.begun.push(values);
        } else if !row.patch.is_empty() {
            debug_assert!(row.patch.iter().all(|(column, _)| self.table.columns[*column].changes));
            self.changed.push(Changed { key, columns: &row.patch, all: self.table.columns.len() });
            let mask = row.patch.iter().fold(0, |bits, (column, _)| bits | (1 << column));
            self.masks.get_or_insert_default().push(mask);
        }
    }

    /// The arguments in the order of the function's parameters after the base.
    pub(crate) fn arguments(&self) -> [&(dyn ToSql + Sync); PARAMETERS] {
        [&self.ended, &self.begun, &self.changed, &self.masks]
    }
}

/// How many parameters the function of a table has after the base.
const PARAMETERS: usize = 4;

/// The coalesced changes of a batch by table, ordered by table name, so that equal sets of tables share a prepared
/// statement.
pub(crate) fn applications<'a>(coalesced: &'a [CoalescedRow<'a>]) -> Vec<Application<'a>> {
    let mut all: Vec<Application<'a>> = Vec::new();
    for (table, key, row) in coalesced {
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

/// The calls of the tables' functions, as expressions on `a.base`; their parameters are numbered from `next`.
pub(crate) fn calls(tables: &[&'static Table], schema: &str, next: usize) -> String {
    let mut sql = String::new();
    for (table, next) in tables.iter().zip((next..).step_by(PARAMETERS)) {
        let (call, rows) = (apply_name(table, schema), format!("{schema}.{}[]", table.name));
        let (begun, changed, masks) = (next + 1, next + 2, next + 3);
        let _ = write!(
            sql,
            ", {call}(a.base, ${next}::{rows}, ${begun}::{rows}, ${changed}::{rows}, ${masks}::bigint[])"
        );
    }
    sql
}
