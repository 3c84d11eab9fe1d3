//! The set of projections that a database holds, and whether this release may replace it.

use std::cmp::Ordering;

use tokio_postgres::Client;

use super::migrate_error::MigrateError;
use super::view_tables;
use crate::event_log::rows::Table;
use crate::ids::LogId;

/// Which projections a database contains.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Projections {
    /// The projections of this release.
    Current,
    /// The projections of another release, with the name of that set; they must be rebuilt from the log.
    Outdated(String),
    /// Projections of another build than the log expects, as in a dump that was taken while they were replaced, of this release or
    /// another one: they may lack rows or whole tables, and must be rebuilt from the log.
    Torn,
    /// Projections of a restored dump that may be torn.
    Mistrusted,
}

/// When projections of another release are replaced by those of this one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Replacing {
    /// Unless nodes serve them: for a command that wants something else.
    IfUnused,
    /// If they are of an earlier release.
    #[default]
    Earlier,
    /// Also if they are of a later one: to go back.
    Always,
}

/// Creates the head row and the projection tables of a new log, or updates the tables of this release's set. Leaves
/// another set alone. `schema` is how this release's schema version compares to the one that the database had.
pub(super) async fn prepare(
    client: &mut Client,
    tables: &[&Table],
    projection_set: &str,
    (log_id, epoch): (LogId, i64),
    replacing: Replacing,
    schema: Ordering,
) -> Result<Projections, MigrateError> {
    let definition = view_tables::digest(tables);
    if let Some(row) = client.query_opt("select projection_set, view_definition from log.head", &[]).await? {
        let (database, standing): (String, String) = (row.try_get(0)?, row.try_get(1)?);
        if database != projection_set {
            let is_earlier = match schema {
                Ordering::Less => true,
                _ if is_newer(&database, tables) => true,
                Ordering::Equal => was_replaced(client, projection_set).await?,
                Ordering::Greater => false,
            };
            may_replace(client, projection_set, database.clone(), replacing, is_earlier).await?;
        }
        view_tables::mistrust_dump(client, tables).await?;
        // Twice: a swap between the two tables that one look compares is no torn dump.
        if !view_tables::is_expected_build(client).await? && !view_tables::is_expected_build(client).await? {
            let is_mistrusted = view_tables::is_mistrusted(client).await?;
            return Ok(if is_mistrusted { Projections::Mistrusted } else { Projections::Torn });
        }
        if database != projection_set {
            return Ok(Projections::Outdated(database));
        }
        // A node of an earlier release of the same set would take back what a later one has added.
        if standing != definition && schema != Ordering::Less {
            view_tables::mend(client, tables).await?;
        }
        return Ok(Projections::Current);
    }
    view_tables::create(client, tables).await?;
    // Last: the head row says that the tables exist. After an interruption before it, `create … if not exists` repeats.
    let sql = "insert into log.head (log_id, epoch, projection_set, view_definition) values ($1, $2, $3, $4)";
    client.execute(sql, &[&log_id, &epoch, &projection_set, &definition]).await?;
    Ok(Projections::Current)
}

/// Refuses to replace the set of another release, if that is a later one or its nodes would keep reading tables that are replaced
/// underneath them.
async fn may_replace(
    client: &Client,
    ours: &str,
    database: String,
    replacing: Replacing,
    is_earlier: bool,
) -> Result<(), MigrateError> {
    if is_earlier && replacing != Replacing::Always {
        return Err(MigrateError::NewerProjections { database });
    }
    if replacing == Replacing::IfUnused {
        let sql =
            "select count(*) from log.node where projection_set <> $1 and expires_at > clock_timestamp()";
        let nodes: i64 = client.query_one(sql, &[&ours]).await?.try_get(0)?;
        if nodes > 0 {
            return Err(MigrateError::NodesServing { database, nodes });
        }
    }
    let nodes = undrainable_nodes(client).await?;
    if nodes > 0 {
        return Err(MigrateError::NodesRunning { database, nodes });
    }
    Ok(())
}

/// Whether the log had this set before a later release replaced it.
async fn was_replaced(client: &Client, set: &str) -> Result<bool, tokio_postgres::Error> {
    let sql = "select exists (select from log.replaced_projection_set where projection_set = $1)";
    client.query_one(sql, &[&set]).await?.try_get(0)
}

/// Whether a set of projections has a table of a later version than this release.
pub(super) fn is_newer(set: &str, tables: &[&Table]) -> bool {
    set.split(',').filter_map(|named| named.split_once(':')).any(|(name, version)| {
        let ours = tables.iter().find(|table| table.name == name);
        ours.is_some_and(|ours| version.parse::<u32>().is_ok_and(|version| version > ours.version))
    })
}

/// The number of nodes of a release that does not stop writing when it is asked to. Such a node listens under this name, as the first
/// ones that drain did, which have a row in `log.node`. Later ones have a name of their own: one that is frozen or whose machine is
/// gone may keep its connection for long after its row has expired.
async fn undrainable_nodes(client: &Client) -> Result<i64, tokio_postgres::Error> {
    let sql = "select greatest(0, (select count(*) from pg_stat_activity
                                   where datname = current_database() and application_name = 'tenure follower')
                                  - (select count(*) from log.node
                                     where expires_at > clock_timestamp() and listens_as = 'tenure follower'))";
    client.query_one(sql, &[]).await?.try_get(0)
}
