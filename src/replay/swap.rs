//! Puts the fresh tables in the place of the live ones, under the head lock.

use std::time::Duration;

use tokio::time::sleep;
use tokio_postgres::Client;

use super::catch_up::CatchUp;
use super::error::{ReplayError, is_lock};
use super::fresh::{Fresh, THEIR_SEARCH_PATH};
use super::locks::{changing, holders};
use super::others::{Others, role_of_others};
use crate::clock::Stopwatch;
use crate::event_log::row_sql;
use crate::postgres::migrate::is_of_later_release;
use crate::postgres::statement_reason;
use crate::projections;

/// The beginning of the transaction that swaps. Appends wait for it, so that none of its statements may take long, and neither may a
/// client that hangs.
const BEGIN: &str = "begin; set local lock_timeout = '5s'; set local statement_timeout = '10s';
                     set local idle_in_transaction_session_timeout = '10s'";

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

impl Target<'_> {
    /// The set that was announced to nodes of the release before, if the swap replaces theirs.
    fn announced(&self) -> Option<&str> {
        self.becomes.filter(|set| *set != self.set)
    }
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
    /// The announcement has expired, so that nodes of the release before may write again.
    Expired,
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
        let mut before = catch_up.position();
        // Never while appends wait for the swap.
        let tried = match fresh.index_for_others(client).await {
            Ok(()) => {
                catch_up.nearly(client, fresh).await?;
                before = catch_up.position();
                swap_once(client, fresh, catch_up, target).await
            }
            Err(error) => Err(error),
        };
        let mut blocked = None;
        let error = match tried {
            Ok(Some(Swapped::Blocked(holders))) => {
                blocked = Some(holders);
                None
            }
            Ok(Some(swapped)) => return Ok(swapped),
            Ok(None) => None,
            Err(error) => Some(error),
        };
        if let Err(gone) = client.batch_execute("rollback").await {
            // The first error says what that means.
            return Err(error.unwrap_or_else(|| gone.into()));
        }
        // What the transaction applied to the fresh tables is gone with it.
        catch_up.back_to(before);
        match error {
            Some(ReplayError::Statement(refused)) if is_lock(&refused) => {}
            Some(error) => return Err(error),
            None if blocked.is_some() => {}
            None => continue,
        }
        if trying.elapsed() >= target.tries {
            let holders = match blocked {
                Some(holders) => holders,
                None => holders(client, &["view", &fresh.schema]).await?,
            };
            return Ok(Swapped::Blocked(holders));
        }
        sleep(Duration::from_millis(200)).await;
    }
}

/// Returns `None` if the live tables have gained an index that the fresh ones lack.
async fn swap_once(
    client: &Client,
    fresh: &Fresh,
    catch_up: &mut CatchUp,
    target: &Target<'_>,
) -> Result<Option<Swapped>, ReplayError> {
    // A waiting exclusive lock stops every later reader of the table, so it waits only briefly. The head lock comes first,
    // like in every transaction that writes `view`: an append that waits for it goes to the tables that it finds then.
    client.batch_execute(BEGIN).await?;
    let sql = "select projection_set, epoch, coalesce(next_set_until > clock_timestamp(), false) from log.head for update";
    let head = client.query_one(sql, &[]).await?;
    let since = Stopwatch::start();
    client.batch_execute("set local lock_timeout = '50ms'").await?;
    let (set, epoch): (String, i64) = (head.try_get(0)?, head.try_get(1)?);
    if epoch != target.epoch {
        return Err(ReplayError::EpochChanged);
    }
    if set != target.set {
        return Err(ReplayError::SetChanged(set));
    }
    if target.announced().is_some() && !head.try_get::<_, bool>(2)? {
        client.batch_execute("rollback").await?;
        return Ok(Some(Swapped::Expired));
    }
    if let Some(holders) = changing(client, &fresh.tables).await? {
        return Ok(Some(Swapped::Blocked(holders)));
    }
    catch_up.rest(client, fresh).await?;
    if let Some(subject) = catch_up.keys().lost() {
        return Err(ReplayError::LostKey { subject: subject.clone() });
    }
    let retired = format!("view_retired_{:x}", fresh.build);
    let others = Others::find(client, &fresh.tables, target.is_whole.then_some(&*retired)).await?;
    if !others.refused.is_empty() {
        client.batch_execute("rollback").await?;
        return Ok(Some(Swapped::Refused(others.refused)));
    }
    if !fresh.lacking_indexes(client).await?.is_empty() {
        return Ok(None);
    }
    let mut statements = renames(fresh, target.is_whole, &retired);
    statements.push(format!("update log.head set view_build = {}", fresh.build));
    client.batch_execute(&statements.join(";\n")).await?;
    if let Some(set) = target.becomes {
        if set != target.set {
            note_replaced(client, target, set).await?;
        }
        let sql = "update log.head set projection_set = $1, view_definition = $2, next_projection_set = null,
                                       next_set_until = null";
        client.execute(sql, &[&set, &target.definition]).await?;
    } else {
        // A node of another release of the same set has mended the tables meanwhile: the next start mends this one too.
        let sql = "update log.head set view_definition = '' where view_definition <> $1";
        client.execute(sql, &[&target.definition]).await?;
    }
    if !others.statements.is_empty() {
        let (before, after) = role_of_others(client).await?;
        client.batch_execute(&format!("{before}{};{after}", others.statements.join(";\n"))).await?;
    }
    client.batch_execute("commit").await.map_err(|error| {
        if error.as_db_error().is_some() { error.into() } else { ReplayError::InDoubt(error) }
    })?;
    Ok(Some(Swapped::Done { position: catch_up.position(), held: since.elapsed() }))
}

/// Notes that a set takes the place of another one, so that a node of the release before that restarts does not take its tables back.
/// If the log goes back to a set, that one and those after it count as later ones again.
async fn note_replaced(client: &Client, target: &Target<'_>, after: &str) -> Result<(), ReplayError> {
    let before = target.set;
    let sql = "delete from log.replaced_projection_set
               where number >= (select number from log.replaced_projection_set where projection_set = $1)";
    let removed = client.execute(sql, &[&after]).await?;
    if is_of_later_release(client, before, projections::TABLES).await? {
        // The log may never have had the set that it goes back to.
        client
            .execute("delete from log.replaced_projection_set where projection_set = $1", &[&before])
            .await?;
    } else if removed == 0 {
        let sql =
            "insert into log.replaced_projection_set (projection_set) values ($1) on conflict do nothing";
        client.execute(sql, &[&before]).await?;
    }
    Ok(())
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

/// How a rehearsal of the swap ended.
pub(super) enum Rehearsed {
    /// The swap can be done.
    Well,
    /// An object of others cannot be put on the fresh tables: its description.
    Refused(String),
    /// Somebody holds a lock for longer than the rehearsal waits.
    Blocked(String),
}

/// Does once, with empty tables, what the swap does, and takes it back: what others have on the tables and cannot be put on the
/// fresh ones is found before the log is read.
pub(super) async fn rehearse(
    client: &Client,
    fresh: &Fresh,
    is_whole: bool,
) -> Result<Rehearsed, ReplayError> {
    let rehearsed = rehearse_once(client, fresh, is_whole).await;
    client.batch_execute("rollback").await?;
    match rehearsed {
        Err(ReplayError::Statement(error)) if is_lock(&error) => {
            Ok(Rehearsed::Blocked(holders(client, &["view"]).await?))
        }
        rehearsed => rehearsed,
    }
}

async fn rehearse_once(client: &Client, fresh: &Fresh, is_whole: bool) -> Result<Rehearsed, ReplayError> {
    client.batch_execute(BEGIN).await?;
    client.batch_execute("set local lock_timeout = '50ms'").await?;
    let retired = format!("view_retired_{:x}", fresh.build);
    let others = Others::find(client, &fresh.tables, is_whole.then_some(&*retired)).await?;
    let functions = fresh.tables.iter().filter(|_| !is_whole);
    let mut statements = vec![fresh.creation()];
    // A replica identity may be any of them.
    for table in &fresh.tables {
        statements.push(row_sql::add_key(table, &fresh.schema));
        statements.extend(row_sql::indexes(table, &fresh.schema, ""));
    }
    statements.extend(functions.map(|table| row_sql::apply_function(table, &fresh.schema)));
    client.batch_execute(&statements.join(";\n")).await?;
    // They are built before the swap, when the functions that they call are still where they were.
    let lacking = fresh.lacking_indexes(client).await?;
    let (before, after) = role_of_others(client).await?;
    client.batch_execute(&format!("{before} {THEIR_SEARCH_PATH}")).await?;
    for index in &lacking {
        if let Some(refused) = refusal(client, index).await? {
            return Ok(refused);
        }
    }
    client.batch_execute(&format!("{after} set local search_path = pg_catalog")).await?;
    client.batch_execute(&renames(fresh, is_whole, &retired).join(";\n")).await?;
    client.batch_execute(before).await?;
    for statement in &others.statements {
        if let Some(refused) = refusal(client, statement).await? {
            return Ok(refused);
        }
    }
    Ok(Rehearsed::Well)
}

/// Runs a statement that puts an object of others on the fresh tables.
async fn refusal(client: &Client, statement: &str) -> Result<Option<Rehearsed>, ReplayError> {
    match client.batch_execute(statement).await {
        Err(error) if error.as_db_error().is_some() && !is_lock(&error) => {
            let object = format!("{} ({})", shortened(statement), statement_reason(&error));
            Ok(Some(Rehearsed::Refused(object)))
        }
        done => Ok(done.map(|()| None)?),
    }
}

/// The first words of a statement, which name its object.
fn shortened(statement: &str) -> String {
    const MOST: usize = 120;
    let line = statement.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= MOST { line } else { line.chars().take(MOST).chain(['…']).collect() }
}
