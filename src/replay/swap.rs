//! Puts the fresh tables in the place of the live ones, under the head lock.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::sleep;
use tokio_postgres::Client;

use super::catch_up::CatchUp;
use super::error::ReplayError;
use super::fresh::Fresh;
use super::others::Others;
use crate::clock::Stopwatch;
use crate::event_log::row_sql;
use crate::postgres::statement_reason;

/// How long a transaction must hold a lock on `view` before it is named: every query of a node holds one for some
/// milliseconds.
const LONG_HELD: Duration = Duration::from_secs(1);

/// What the log is told about the fresh tables.
pub(super) struct Target<'a> {
    /// For how long the swap is tried again while others hold locks that it needs.
    pub(super) tries: Duration,
    /// Whether all tables are replaced, and with them the schema.
    pub(super) is_whole: bool,
    /// The set and the definition that the log has before the swap; the swap is refused if they have changed.
    pub(super) set: &'a str,
    /// The epoch in which the fresh tables were made.
    pub(super) epoch: i64,
    /// The set that the log has from the swap on; `None` to keep the one that it has.
    pub(super) becomes: Option<&'a str>,
    /// The definition of the fresh tables: their functions and indexes.
    pub(super) definition: &'a str,
}

/// How a swap ended.
pub(super) enum Swapped {
    /// The fresh tables are live.
    Done {
        /// The position up to which they were made.
        position: i64,
        /// How long appends had to wait.
        held: Duration,
    },
    /// Objects of others cannot be put on the fresh tables: their descriptions.
    Refused(Vec<String>),
    /// Another transaction holds a lock that the swap needs.
    Blocked(String),
}

/// Waits until the transactions that hold a lock on the tables of `view` have ended, at most this long. Returns those that
/// have not. Such a transaction may be a dump, which would find the fresh tables under their names, but none of their rows.
pub(super) async fn wait_for_others(
    client: &Client,
    most: Duration,
    tell: &(dyn Fn(&[String]) + Sync),
) -> Result<Vec<String>, ReplayError> {
    // By virtual transaction, which everybody may see: the time at which another login's transaction began is hidden.
    let sql = "select distinct l.virtualtransaction,
                      format('process %s (%s, %s)', l.pid, coalesce(nullif(a.application_name, ''), 'unnamed'), a.usename)
               from pg_locks l
               join pg_class c on c.oid = l.relation and c.relnamespace = 'view'::regnamespace
               left join pg_stat_activity a on a.pid = l.pid
               where l.locktype = 'relation' and l.granted and l.pid <> pg_backend_pid()
                 and l.database = (select oid from pg_database where datname = current_database())";
    let waited = Stopwatch::start();
    // When each was first seen; none for those of the first look, which may have begun long before.
    let mut seen: HashMap<String, Option<Stopwatch>> = HashMap::new();
    loop {
        let is_first = seen.is_empty();
        let mut names = Vec::new();
        let mut standing = HashMap::new();
        for row in client.query(sql, &[]).await? {
            let (transaction, name): (String, String) = (row.try_get(0)?, row.try_get(1)?);
            let since = match seen.remove(&transaction) {
                Some(since) => since,
                None if is_first => None,
                None => Some(Stopwatch::start()),
            };
            // The queries of nodes come and go.
            if since.as_ref().is_none_or(|since| since.elapsed() >= LONG_HELD) {
                names.push(name);
            }
            standing.insert(transaction, since);
        }
        seen = standing;
        if names.is_empty() || waited.elapsed() >= most {
            return Ok(names);
        }
        if waited.elapsed() >= LONG_HELD {
            tell(&names);
        }
        sleep(Duration::from_millis(50)).await;
    }
}

/// Applies the last events and swaps. Tried again while others hold locks that it needs.
pub(super) async fn swap(
    client: &Client,
    fresh: &Fresh,
    catch_up: &mut CatchUp,
    target: &Target<'_>,
) -> Result<Swapped, ReplayError> {
    let trying = Stopwatch::start();
    loop {
        catch_up.nearly(client, fresh).await?;
        let before = catch_up.position();
        let error = match swap_once(client, fresh, catch_up, target).await {
            Ok(swapped) => return Ok(swapped),
            Err(error) => error,
        };
        if client.batch_execute("rollback").await.is_err() {
            // The connection is gone: the first error says what that means.
            return Err(error);
        }
        // What the transaction applied to the fresh tables is gone with it.
        catch_up.back_to(before);
        if !matches!(&error, ReplayError::Statement(refused) if is_lock(refused)) {
            return Err(error);
        }
        if trying.elapsed() >= target.tries {
            return Ok(Swapped::Blocked(holders(client).await?));
        }
        sleep(Duration::from_millis(200)).await;
    }
}

async fn swap_once(
    client: &Client,
    fresh: &Fresh,
    catch_up: &mut CatchUp,
    target: &Target<'_>,
) -> Result<Swapped, ReplayError> {
    // A waiting exclusive lock stops every later reader of the table, so it waits only briefly. The head lock comes first,
    // like in every transaction that writes `view`: an append that waits for it goes to the tables that it finds then.
    client.batch_execute("begin; set local lock_timeout = '5s'").await?;
    let head = client.query_one("select projection_set, epoch from log.head for update", &[]).await?;
    let since = Stopwatch::start();
    client.batch_execute("set local lock_timeout = '50ms'").await?;
    let (set, epoch): (String, i64) = (head.try_get(0)?, head.try_get(1)?);
    if epoch != target.epoch {
        return Err(ReplayError::EpochChanged);
    }
    if set != target.set {
        return Err(ReplayError::SetChanged(set));
    }
    catch_up.rest(client, fresh).await?;
    if let Some(subject) = catch_up.keys().lost() {
        return Err(ReplayError::LostKey { subject: subject.clone() });
    }
    let retired = format!("view_retired_{:x}", fresh.build);
    let others = Others::find(client, &fresh.tables, target.is_whole.then_some(&*retired)).await?;
    if !others.refused.is_empty() {
        client.batch_execute("rollback").await?;
        return Ok(Swapped::Refused(others.refused));
    }
    let mut statements = renames(fresh, target.is_whole, &retired);
    statements.push(format!("update log.head set view_build = {}", fresh.build));
    client.batch_execute(&statements.join(";\n")).await?;
    if let Some(set) = target.becomes {
        let sql = "update log.head set projection_set = $1, view_definition = $2, next_projection_set = null";
        client.execute(sql, &[&set, &target.definition]).await?;
    } else {
        // A node of another release of the same set has mended the tables meanwhile: the next start mends this one too.
        let sql = "update log.head set view_definition = '' where view_definition <> $1";
        client.execute(sql, &[&target.definition]).await?;
    }
    let statements = statements_of(client, &others).await?;
    if !statements.is_empty() {
        let (before, after) = role_of_others(client).await?;
        client.batch_execute(&format!("{before}{};{after}", statements.join(";\n"))).await?;
    }
    client.batch_execute("commit").await.map_err(|error| {
        if error.as_db_error().is_some() { error.into() } else { ReplayError::InDoubt(error) }
    })?;
    Ok(Swapped::Done { position: catch_up.position(), held: since.elapsed() })
}

/// The statements that give the fresh tables the names of the live ones, which go to another schema.
fn renames(fresh: &Fresh, is_whole: bool, retired: &str) -> Vec<String> {
    let mut statements = Vec::new();
    if is_whole {
        statements.push(format!("alter schema view rename to {retired}"));
        statements.push(format!("alter schema {} rename to view", fresh.schema));
    } else {
        statements.push(format!("create schema {retired}"));
        for name in fresh.tables.iter().map(|table| table.name).chain(["view_build"]) {
            statements.push(format!("alter table view.{name} set schema {retired}"));
            statements.push(format!("alter table {}.{name} set schema view", fresh.schema));
        }
    }
    for table in &fresh.tables {
        if !is_whole {
            // Its arguments are rows of the retired table.
            let (old, new) =
                (row_sql::apply_arguments(table, retired), row_sql::apply_arguments(table, "view"));
            let name = table.name;
            statements.push(format!("alter function view.{name}_apply({old}) set schema {retired}"));
            statements.push(format!("alter function {}.{name}_apply({new}) set schema view", fresh.schema));
        }
        // Its text names the schema that the table was made in.
        statements.push(row_sql::apply_function(table, "view"));
    }
    if !is_whole {
        statements.push(format!("drop schema {}", fresh.schema));
    }
    statements
}

/// Does once, with empty tables, what the swap does, and takes it back: what others have on the tables and cannot be put on the
/// fresh ones is found before the log is read. Returns a description of it.
pub(super) async fn rehearse(
    client: &Client,
    fresh: &Fresh,
    is_whole: bool,
) -> Result<Option<String>, ReplayError> {
    let rehearsed = rehearse_once(client, fresh, is_whole).await;
    client.batch_execute("rollback").await?;
    match rehearsed {
        // Somebody holds a lock for longer than the rehearsal waits. The swap waits longer.
        Err(ReplayError::Statement(error)) if is_lock(&error) => Ok(None),
        rehearsed => rehearsed,
    }
}

async fn rehearse_once(
    client: &Client,
    fresh: &Fresh,
    is_whole: bool,
) -> Result<Option<String>, ReplayError> {
    client.batch_execute("begin; set local lock_timeout = '50ms'").await?;
    let retired = format!("view_retired_{:x}", fresh.build);
    let others = Others::find(client, &fresh.tables, is_whole.then_some(&*retired)).await?;
    let functions = fresh.tables.iter().filter(|_| !is_whole);
    let mut statements = vec![fresh.creation()];
    statements.extend(functions.map(|table| row_sql::apply_function(table, &fresh.schema)));
    statements.extend(renames(fresh, is_whole, &retired));
    client.batch_execute(&statements.join(";\n")).await?;
    let (before, _) = role_of_others(client).await?;
    client.batch_execute(before).await?;
    for statement in statements_of(client, &others).await? {
        match client.batch_execute(statement).await {
            Err(error) if error.as_db_error().is_some() && !is_lock(&error) => {
                return Ok(Some(format!("{} ({})", shortened(statement), statement_reason(&error))));
            }
            done => done?,
        }
    }
    Ok(None)
}

/// Whether a lock could not be had in time.
fn is_lock(error: &tokio_postgres::Error) -> bool {
    error.code().is_some_and(|code| matches!(code.code(), "55P03" | "40P01"))
}

/// The first words of a statement, which name its object.
fn shortened(statement: &str) -> String {
    const MOST: usize = 120;
    let line = statement.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= MOST { line } else { line.chars().take(MOST).chain(['…']).collect() }
}

/// The statements that put others' objects on the new tables, once these have their place.
async fn statements_of<'o>(client: &Client, others: &'o Others) -> Result<Vec<&'o str>, ReplayError> {
    let missing = "select to_regclass(format('view.%I', $1::text)) is null";
    let mut statements: Vec<&str> = Vec::new();
    for (name, index) in &others.indexes {
        // Built before the swap, unless it was made since.
        if client.query_one(missing, &[name]).await?.try_get(0)? {
            statements.push(index);
        }
    }
    statements.extend(others.statements.iter().map(String::as_str));
    Ok(statements)
}

/// Others' objects belong to their owners, so putting them on the new tables needs the login's own rights, if those are a
/// superuser's: what to say before and after.
async fn role_of_others(client: &Client) -> Result<(&'static str, String), ReplayError> {
    let sql = "select rolsuper and session_user <> current_user, quote_ident(current_user)
               from pg_roles where rolname = session_user";
    let row = client.query_one(sql, &[]).await?;
    let (is_superuser, role): (bool, String) = (row.try_get(0)?, row.try_get(1)?);
    Ok(if is_superuser { ("reset role;", format!("set role {role};")) } else { ("", String::new()) })
}

/// Who holds locks on `view`, for messages.
async fn holders(client: &Client) -> Result<String, ReplayError> {
    let sql = "select coalesce(string_agg(distinct format('process %s (%s, %s)', l.pid,
                                          coalesce(nullif(a.application_name, ''), 'unnamed'), a.usename), ', '), 'unknown')
               from pg_locks l join pg_class c on c.oid = l.relation and c.relnamespace = 'view'::regnamespace
               left join pg_stat_activity a on a.pid = l.pid
               where l.granted and l.pid <> pg_backend_pid()";
    Ok(client.query_one(sql, &[]).await?.try_get(0)?)
}
