//! Migrates a database to this release: roles, schema, projections, privileges. Nodes that start at the same time
//! migrate one after the other.

use std::time::Duration;

use tokio::time::timeout;
use tokio_postgres::Client;

use super::connection::{Connection, Database, STATEMENT_TIMEOUT};
use super::migrate_error::LOCK_TIMEOUT;
use super::version;
use super::watch::Watch;
use super::{Address, pooler, projection_set, roles, statistics, view_tables};
use crate::clock::Stopwatch;
use crate::event_log::rows::Table;
use crate::ids::LogId;

pub use super::migrate_error::MigrateError;
pub use super::projection_set::{Projections, Replacing};
pub use super::roles::{APP_ROLE, OWNER_ROLE};

mod embedded {
    refinery::embed_migrations!("migrations");
}

/// The migrations of this release, ready to run.
fn runner() -> refinery::Runner {
    let runner = embedded::migrations::runner();
    #[cfg(feature = "next-release")]
    let runner = {
        let sql = include_str!("../../tests/next_release/append.sql");
        let mut all = runner.get_migrations().clone();
        all.extend(refinery::Migration::unapplied(&format!("V{}__append_next", all.len() + 1), sql));
        refinery::Runner::new(&all)
    };
    runner
}

/// The advisory lock that is held while migrating; "tenure" in ASCII.
const LOCK: i64 = 0x74_65_6e_75_72_65;

/// How often a node tries to take the lock. It polls instead of waiting in the server: a waiting statement holds a
/// snapshot, and a node that builds an index concurrently would wait for that snapshot.
const LOCK_POLL: Duration = Duration::from_millis(100);

/// How often a waiting node logs who holds the lock.
const LOCK_NOTICE: Duration = Duration::from_secs(5);

const HISTORY: &str = "log.schema_history";

/// Session settings for the short statements of a start.
const SETTINGS: &str =
    "set statement_timeout = '10s'; set lock_timeout = '8s'; set client_min_messages = warning;";

/// Session settings for building indexes of large tables. An index that is built concurrently waits for the end of every older
/// transaction, such as a dump's. Nobody queues behind that, so it may take long, but stays bounded.
const LONG: &str = "set statement_timeout = 0; set lock_timeout = '10min';";

/// The `application_name` of the connections that migrate, and mend what differs from the release.
pub(crate) const MIGRATE: &str = "tenure migrate";

/// Session settings for migrations. Every append queues behind a migration that waits for a lock on the log, so it
/// waits briefly and retries.
const MIGRATING: &str = "set statement_timeout = 0; set lock_timeout = '1s';";

/// How many times a migration is tried when another session holds a lock that it needs, and the pause between tries.
const MIGRATION_TRIES: u32 = 30;
const MIGRATION_PAUSE: Duration = Duration::from_secs(1);

/// The newest schema version that this binary contains.
#[must_use]
pub fn newest_version() -> i64 {
    let versions = runner().get_migrations().iter().map(|migration| i64::from(migration.version())).max();
    versions.unwrap_or(0)
}

/// The number of migrations that this binary contains.
#[must_use]
pub fn count() -> usize {
    runner().get_migrations().len()
}

/// A connection that holds the migration lock until it is dropped.
pub struct Migration {
    connection: Connection,
    watch: Watch,
    role: Option<&'static str>,
    database: Database,
}

impl Migration {
    /// Connects, checks the server and takes the lock.
    ///
    /// # Errors
    /// [`MigrateError::Connect`], [`MigrateError::Pooler`], [`MigrateError::TooOld`] or [`MigrateError::Encoding`] if
    /// the server cannot be used; [`MigrateError::Locked`] if another connection keeps the lock.
    pub async fn begin(address: &Address) -> Result<Self, MigrateError> {
        let database = Database::new(address, None)?;
        let connection = database.connect(MIGRATE, SETTINGS).await?;
        // Before the lock: a pooler in transaction mode could hand the session that holds the lock to another client.
        let second = database.connect(MIGRATE, SETTINGS).await?;
        if in_time(pooler::shares_sessions(&connection.client, &second.client)).await? {
            return Err(MigrateError::Pooler);
        }
        let client = &connection.client;
        // Also before the lock, so that an unusable server is refused without waiting for other nodes.
        let sql = "select current_setting('server_version_num')::int, current_setting('server_encoding')";
        let row = in_time(client.query_one(sql, &[])).await?;
        version::supported(row.try_get(0)?)?;
        let encoding: String = row.try_get(1)?;
        if encoding != "UTF8" {
            return Err(MigrateError::Encoding(encoding));
        }
        take_lock(client).await?;
        let watch = async { Watch::of(&database, second).await?.telling(client).await };
        let watch = Box::pin(in_time(watch)).await?;
        Ok(Self { connection, watch, role: None, database })
    }

    /// The connection that holds the lock.
    #[must_use]
    pub const fn client(&mut self) -> &mut Client {
        &mut self.connection.client
    }

    /// Switches to the role that owns the schema, if the login may; creates the roles if they are missing.
    ///
    /// # Errors
    /// See [`MigrateError`].
    pub async fn act_as_owner(&mut self) -> Result<(), MigrateError> {
        self.role = in_time(roles::prepare(&self.connection.client)).await?;
        Ok(())
    }

    /// Creates roles and schemas and runs the pending migrations. Then creates the projections of a new log, or updates
    /// those of this release's set.
    ///
    /// # Errors
    /// See [`MigrateError`]. A failed migration is rolled back; those before it stay.
    pub async fn run(
        &mut self,
        tables: &[&Table],
        set: &str,
        log_id: LogId,
        epoch: i64,
        replacing: Replacing,
    ) -> Result<Projections, MigrateError> {
        self.act_as_owner().await?;
        let Self { connection, watch, .. } = self;
        let client = &mut connection.client;
        in_time(make_schemas(client)).await?;
        let binary = newest_version();
        let applied = in_time(applied_version(client)).await?.unwrap_or(0);
        if applied > binary && !in_time(serves(client, binary)).await? {
            return Err(MigrateError::NewerSchema { database: applied, binary });
        }
        if applied < binary {
            run_migrations(client, watch).await?;
        }
        watch.during(statistics::forget_of_log(client)).await??;
        // Building an index on a large table may take longer than any statement timeout.
        in_time(client.batch_execute(LONG)).await?;
        let prepared =
            projection_set::prepare(client, tables, set, (log_id, epoch), replacing, binary.cmp(&applied));
        let projections = watch.during(prepared).await?.map_err(|error| match watch.holders() {
            Some(holders) if super::is_lock_timeout(&error) => MigrateError::Blocked(holders.to_owned()),
            _ => error,
        })?;
        in_time(client.batch_execute(SETTINGS)).await?;
        if self.role.is_none() && projections == Projections::Current {
            // The login itself will serve. Checked here, because the caller opens the master key next.
            in_time_to(roles::check(&self.connection.client)).await?;
        }
        Ok(projections)
    }

    /// Drops the schemas that rebuilds have left. What cannot be dropped yet stays for a node's sweeper.
    ///
    /// # Errors
    /// See [`MigrateError`].
    pub async fn drop_leftovers(&self) -> Result<(), MigrateError> {
        in_time(self.connection.client.batch_execute("select log.drop_leftover_schemas()")).await
    }

    /// Grants the serving role its privileges, if there is such a role and they have changed.
    ///
    /// # Errors
    /// See [`MigrateError`].
    pub async fn grant(&mut self) -> Result<(), MigrateError> {
        if self.role.is_some() {
            in_time(roles::grant(&self.connection.client)).await?;
        }
        Ok(())
    }

    /// Grants the privileges and checks that the role can serve.
    ///
    /// # Errors
    /// [`MigrateError::MayNotWrite`] if the role lacks privileges; see [`MigrateError`] for the others.
    pub async fn finish(&mut self) -> Result<(), MigrateError> {
        self.grant().await?;
        let client = &self.connection.client;
        // The check looks at the current role, and nodes serve under this one.
        if let Some(role) = self.role {
            in_time(client.batch_execute(&format!("set role {role}"))).await?;
        }
        let checked = in_time_to(roles::check(client)).await;
        in_time(client.batch_execute("reset role")).await?;
        checked
    }

    /// The database with the serving role, if there is one, for the connections of a node.
    #[must_use]
    pub fn database(&self) -> Database {
        self.database.with_role(self.role)
    }
}

async fn run_migrations(client: &mut Client, watch: &mut Watch) -> Result<(), MigrateError> {
    in_time(client.batch_execute(MIGRATING)).await?;
    // Each migration is a transaction of its own, so a retry continues after those that have committed.
    for attempt in 1.. {
        let mut pending = runner();
        pending.set_migration_table_name(HISTORY);
        match watch.during(pending.run_async(client)).await? {
            Ok(_) => break,
            Err(error) if attempt < MIGRATION_TRIES && super::is_lock_timeout(&error) => {
                tracing::warn!(
                    attempt,
                    "a migration is waiting for a lock on the log that another session holds; see pg_stat_activity"
                );
                tokio::time::sleep(MIGRATION_PAUSE).await;
            }
            Err(error) => return Err(MigrateError::Migration(Box::new(error))),
        }
    }
    Ok(())
}

/// Runs one short statement, for at most [`STATEMENT_TIMEOUT`].
async fn in_time<T>(work: impl Future<Output = Result<T, tokio_postgres::Error>>) -> Result<T, MigrateError> {
    in_time_to(async { Ok(work.await?) }).await
}

/// Runs several short statements, for at most [`STATEMENT_TIMEOUT`] in all.
async fn in_time_to<T>(work: impl Future<Output = Result<T, MigrateError>>) -> Result<T, MigrateError> {
    timeout(STATEMENT_TIMEOUT, work).await.unwrap_or(Err(MigrateError::TimedOut))
}

async fn take_lock(client: &Client) -> Result<(), MigrateError> {
    let waiting = Stopwatch::start();
    let mut noticed = Stopwatch::start();
    loop {
        let row = in_time(client.query_one("select pg_try_advisory_lock($1)", &[&LOCK])).await?;
        if row.try_get(0)? {
            return Ok(());
        }
        if noticed.elapsed() >= LOCK_NOTICE {
            let holder = in_time(lock_holder(client, LOCK)).await?;
            tracing::warn!(holder, "another connection is preparing the database; waiting for its lock");
            noticed = Stopwatch::start();
        }
        if waiting.elapsed() >= LOCK_TIMEOUT {
            return Err(MigrateError::Locked { holder: in_time(lock_holder(client, LOCK)).await? });
        }
        tokio::time::sleep(LOCK_POLL).await;
    }
}

/// Describes the connection that holds an advisory lock, for messages.
///
/// # Errors
/// [`tokio_postgres::Error`] if the database cannot be read.
pub async fn lock_holder(client: &Client, lock: i64) -> Result<String, tokio_postgres::Error> {
    // `objsubid = 1`: a lock with one bigint key, of which `classid` is the high half and `objid` the low one.
    let sql = "select coalesce(string_agg(format('process %s, %s', a.pid, coalesce(a.application_name, '?')), '; '), 'gone')
               from pg_locks l join pg_stat_activity a on a.pid = l.pid
               where l.locktype = 'advisory' and l.granted and l.objsubid = 1
                 and l.database = (select oid from pg_database where datname = current_database())
                 and (l.classid::bigint << 32 | l.objid::bigint) = $1";
    client.query_one(sql, &[&lock]).await?.try_get(0)
}

/// Creates the missing schemas. Looks first: `create schema if not exists` needs the privilege even if the schema
/// exists, and a login without it may run against a prepared database.
async fn make_schemas(client: &Client) -> Result<(), tokio_postgres::Error> {
    for schema in ["log", "view"] {
        let sql = "select to_regnamespace($1) is not null";
        let exists: bool = client.query_one(sql, &[&schema]).await?.try_get(0)?;
        if !exists {
            client.batch_execute(&format!("create schema {schema}")).await?;
        }
    }
    Ok(())
}

/// The schema version of a database; none if it was never migrated.
///
/// # Errors
/// [`tokio_postgres::Error`] if the database cannot be read.
pub async fn applied_version(client: &Client) -> Result<Option<i64>, tokio_postgres::Error> {
    let exists: bool =
        client.query_one("select to_regclass($1) is not null", &[&HISTORY]).await?.try_get(0)?;
    if !exists {
        return Ok(None);
    }
    client.query_one(&format!("select max(version)::bigint from {HISTORY}"), &[]).await?.try_get(0)
}

/// Whether the set that a database holds is certainly that of a later release than this one.
///
/// # Errors
/// [`tokio_postgres::Error`] if the database cannot be read.
pub async fn is_of_later_release(
    client: &Client,
    database: &str,
    tables: &[&Table],
) -> Result<bool, tokio_postgres::Error> {
    let applied = applied_version(client).await?.unwrap_or(0);
    Ok(applied > newest_version() || projection_set::is_newer(database, tables))
}

/// Whether schema `view` is the build that the log expects.
///
/// # Errors
/// [`tokio_postgres::Error`] if the database cannot be read.
pub async fn is_expected_build(client: &Client) -> Result<bool, tokio_postgres::Error> {
    view_tables::is_expected_build(client).await
}

/// Whether the tables of schema `view` are those of a restored dump that is mistrusted, and were not replaced since.
///
/// # Errors
/// [`tokio_postgres::Error`] if the database cannot be read.
pub async fn is_mistrusted_build(client: &Client) -> Result<bool, tokio_postgres::Error> {
    view_tables::is_mistrusted(client).await
}

/// Whether the release whose newest schema version this is may serve a database with a later one.
async fn serves(client: &Client, binary: i64) -> Result<bool, tokio_postgres::Error> {
    let sql = "select coalesce((select serves_from from log.head), 0) between 1 and $1";
    client.query_one(sql, &[&binary]).await?.try_get(0)
}

/// Whether a release of Tenure has given this name to an index of this table.
#[must_use]
pub fn is_index_of_ours(index: &str, table: &Table) -> bool {
    view_tables::is_ours(index, table)
}

/// The digest that [`Migration::run`] stores, for code that creates the tables itself.
#[must_use]
pub fn definition_of(tables: &[&Table]) -> String {
    view_tables::digest(tables)
}
