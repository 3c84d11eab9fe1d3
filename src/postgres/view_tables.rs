//! The tables of schema `view`: creates them for a new log, and updates their functions and indexes to this release if
//! the projection set is the same.

use std::collections::BTreeSet;

use sha2::{Digest as _, Sha256};
use tokio_postgres::Client;

use super::statistics;
use crate::event_log::row_sql;
use crate::event_log::rows::Table;

/// A digest of the parts of the tables that may change within a projection set: functions, indexes, storage settings.
pub(super) fn digest(tables: &[&Table]) -> String {
    let mut digest = Sha256::new();
    for table in tables {
        digest.update(row_sql::ddl(table, "view"));
    }
    super::hex(&digest.finalize()[..16])
}

/// Creates the tables of a new log.
pub(super) async fn create(client: &Client, tables: &[&Table]) -> Result<(), tokio_postgres::Error> {
    for table in tables {
        client.batch_execute(&row_sql::ddl(table, "view")).await?;
    }
    Ok(())
}

/// Updates functions, indexes and storage settings to this release while other nodes work. Leaves other indexes and
/// functions alone.
pub(super) async fn mend(client: &Client, tables: &[&Table]) -> Result<(), tokio_postgres::Error> {
    while !mend_build(client, tables).await? {}
    Ok(())
}

/// Mends the tables that are live at the moment. `false` if a rebuild has replaced them meanwhile.
async fn mend_build(client: &Client, tables: &[&Table]) -> Result<bool, tokio_postgres::Error> {
    let build: i64 = client.query_one("select view_build from log.head", &[]).await?.try_get(0)?;
    let mut is_complete = true;
    for table in tables {
        drop_outgrown_functions(client, table).await?;
        client.batch_execute(&row_sql::apply_function(table, "view")).await?;
        mend_indexes(client, table).await?;
        client.batch_execute(&row_sql::storage(table, "view")).await?;
        is_complete &= forget_statistics(client, table).await?;
    }
    // Last: a start that was interrupted finds the old digest and repeats all of this. It cannot be one transaction,
    // because `create index concurrently` does not run in one.
    let sql = "update log.head set view_definition = $1 where view_build = $2";
    let definition = if is_complete { digest(tables) } else { String::new() };
    Ok(client.execute(sql, &[&definition, &build]).await? > 0)
}

/// Drops functions with other parameters: `create or replace` would create an overload beside them.
async fn drop_outgrown_functions(client: &Client, table: &Table) -> Result<(), tokio_postgres::Error> {
    let sql = "select p.oid::regprocedure::text from pg_proc p
               where p.pronamespace = 'view'::regnamespace and p.proname = $1
                 and pg_get_function_identity_arguments(p.oid) <> $2";
    let name = format!("{}_apply", table.name);
    for row in client.query(sql, &[&name, &row_sql::apply_arguments(table, "view")]).await? {
        let function: String = row.try_get(0)?;
        client.batch_execute(&format!("drop function {function}")).await?;
    }
    Ok(())
}

/// Removes the statistics that an earlier release has let PostgreSQL make of names and addresses. `false` if that is not possible
/// now: the next start tries it again.
async fn forget_statistics(client: &Client, table: &Table) -> Result<bool, tokio_postgres::Error> {
    let is_any = format!("select exists ({})", row_sql::statistics_kept(table, "view"));
    if table.columns_without_statistics().next().is_none()
        || !client.query_one(&is_any, &[]).await?.try_get(0)?
    {
        return Ok(true);
    }
    statistics::forget(client, &format!("view.{}", table.name), &row_sql::forget_statistics(table, "view"))
        .await
}

async fn mend_indexes(client: &Client, table: &Table) -> Result<(), tokio_postgres::Error> {
    let sql = "select c.relname::text, i.indisvalid, c.oid::regclass::text
               from pg_index i join pg_class c on c.oid = i.indexrelid
               where i.indrelid = format('view.%I', $1::text)::regclass and not i.indisprimary";
    let mut standing = BTreeSet::new();
    for row in client.query(sql, &[&table.name]).await? {
        let (name, is_valid, quoted): (String, bool, String) =
            (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        let is_wanted = row_sql::index_names(table).any(|wanted| wanted == name);
        if is_wanted && is_valid {
            standing.insert(name);
        // Invalid: left by an interrupted `create index concurrently`. Not wanted: built by an earlier release.
        } else if is_wanted || is_ours(&name, table) {
            client.batch_execute(&format!("drop index concurrently {quoted}")).await?;
        }
    }
    for (name, statement) in row_sql::index_names(table).zip(row_sql::indexes(table, "view", "concurrently"))
    {
        if !standing.contains(&name) {
            tracing::info!(index = name, "building an index");
            client.batch_execute(&statement).await?;
        }
    }
    Ok(())
}

/// Whether a release of Tenure has given this name to an index of this table.
pub(super) fn is_ours(index: &str, table: &Table) -> bool {
    let suffix = index.strip_prefix(table.name).and_then(|rest| rest.strip_prefix('_'));
    let is_of_earlier_release = suffix.is_some_and(|suffix| {
        // An earlier release numbered the indexes; no table had more than three.
        let is_number = matches!(suffix, "1" | "2" | "3");
        let is_hex = |byte: u8| byte.is_ascii_digit() || matches!(byte, b'a'..=b'f');
        let is_digest = suffix.len() == 8 && suffix.bytes().all(is_hex);
        // Others name indexes after dates.
        is_number || is_digest && suffix.bytes().any(|byte| !byte.is_ascii_digit())
    });
    is_of_earlier_release || row_sql::index_names(table).any(|ours| ours == index)
}

/// Has the tables of a dump that was just restored made anew if one of them is empty. The tables that a swap puts in place are empty for
/// a dump that began before, and a parallel one may have read the build already.
pub(super) async fn mistrust_dump(client: &Client, tables: &[&Table]) -> Result<(), tokio_postgres::Error> {
    let sql = "select h.system_identifier <> i.system_identifier or h.head_oid <> i.head_oid
               from log.head h cross join log.server_identity() i";
    let row = client.query_opt(sql, &[]).await?;
    if row.map_or(Ok(None), |row| row.try_get::<_, Option<bool>>(0))? != Some(true) {
        return Ok(());
    }
    for table in tables {
        let name = format!("view.{}", table.name);
        let exists: bool =
            client.query_one("select to_regclass($1) is not null", &[&name]).await?.try_get(0)?;
        if exists && client.query_opt(&format!("select from {name} limit 1"), &[]).await?.is_none() {
            tracing::warn!(
                table = name,
                "the database was restored from a dump and a table is empty, perhaps because the dump was taken while the projections \
                 were replaced: comparing them with the log and rebuilding them"
            );
            let sql = "update log.head set view_build = view_build + 1
                       where view_build = (select build from view.view_build)";
            client.execute(sql, &[]).await?;
            return Ok(());
        }
    }
    Ok(())
}

/// Whether it was only mistrusted: its rows may be right.
pub(super) async fn is_mistrusted(client: &Client) -> Result<bool, tokio_postgres::Error> {
    build_is(client, "h.view_build - 1").await
}

/// Whether schema `view` is the build that the log expects.
pub(super) async fn is_expected_build(client: &Client) -> Result<bool, tokio_postgres::Error> {
    build_is(client, "h.view_build").await
}

async fn build_is(client: &Client, build: &str) -> Result<bool, tokio_postgres::Error> {
    let exists = "select to_regclass('view.view_build') is not null";
    if !client.query_one(exists, &[]).await?.try_get(0)? {
        return Ok(false);
    }
    let sql = format!(
        "select coalesce((select array_agg(b.build) = array[{build}] from view.view_build b), false) from log.head h"
    );
    client.query_one(&sql, &[]).await?.try_get(0)
}
