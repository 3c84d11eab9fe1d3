//! Bringing a database up to this release: roles, schema, projections, privileges; one node at a time, however many
//! start.

use std::time::Duration;

use tokio::time::timeout;
use tokio_postgres::Client;

use super::connect_error::ConnectError;
use super::connection::{Connection, Database, STATEMENT_TIMEOUT};
use super::migrate_error::LOCK_TIMEOUT;
use super::version;
use super::{Address, pooler, roles, view_tables};
use crate::clock::Stopwatch;
use crate::event_log::rows::Table;
use crate::ids::LogId;

pub use super::migrate_error::MigrateError;
pub use super::roles::{APP_ROLE, OWNER_ROLE};

mod embedded {
    refinery::embed_migrations!("migrations");
}

/// Taken while migrating; "tenure" in ASCII.
const LOCK: i64 = 0x74_65_6e_75_72_65;

/// How often it is asked for. Never waited for in the server: a waiting statement would hold a snapshot, which whoever
/// makes an index meanwhile would wait for.
const LOCK_POLL: Duration = Duration::from_millis(100);

/// How often the log says who holds it.
const LOCK_NOTICE: Duration = Duration::from_secs(5);

/// How often a server is asked whether it still lives while a long statement runs.
const WATCH_EVERY: Duration = Duration::from_secs(5);

const HISTORY: &str = "log.schema_history";

/// For the short statements of a start.
const SETTINGS: &str =
    "set statement_timeout = '10s'; set lock_timeout = '8s'; set client_min_messages = warning;
                        set max_parallel_workers_per_gather = 0;";

/// For indexes and folds of large tables. Locks are still not waited for without end.
const LONG: &str = "set statement_timeout = 0; set lock_timeout = '60s';";

/// For migrations: whoever waits for a lock on the head row makes everybody else wait behind it, so they wait shortly and
/// often.
const MIGRATING: &str = "set statement_timeout = 0; set lock_timeout = '1s';";

/// How often a migration is tried that meets a lock of somebody else's, and the pause between.
const MIGRATION_TRIES: u32 = 30;
const MIGRATION_PAUSE: Duration = Duration::from_secs(1);

/// The newest schema version that this binary knows.
#[must_use]
pub fn newest_version() -> i64 {
    let versions = embedded::migrations::runner()
        .get_migrations()
        .iter()
        .map(|migration| i64::from(migration.version()))
        .max();
    versions.unwrap_or(0)
}

/// How many migrations this binary carries.
#[must_use]
pub fn count() -> usize {
    embedded::migrations::runner().get_migrations().len()
}

/// Which projections a database holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Projections {
    /// Those of this release.
    Current,
    /// Those of another release, of this set: they have to be folded from the log again.
    Outdated(String),
}

/// A connection that holds the migration lock until it is dropped.
pub struct Migration {
    connection: Connection,
    database: Database,
    role: Option<&'static str>,
    address: Address,
}

impl Migration {
    /// Connects, checks the server and takes the lock.
    ///
    /// # Errors
    /// No connection, a server that Tenure does not run on, or another node that keeps the lock.
    pub async fn begin(address: &Address) -> Result<Self, MigrateError> {
        let database = Database::new(address, None)?;
        let connection = database.connect("tenure migrate", SETTINGS).await?;
        let second = database.connect("tenure migrate", SETTINGS).await?;
        if in_time(pooler::shares_sessions(&connection.client, &second.client)).await? {
            return Err(MigrateError::Pooler);
        }
        drop(second);
        let client = &connection.client;
        let sql = "select current_setting('server_version_num')::int, current_setting('server_encoding')";
        let row = in_time(client.query_one(sql, &[])).await?;
        version::supported(row.try_get(0)?)?;
        let encoding: String = row.try_get(1)?;
        if encoding != "UTF8" {
            return Err(MigrateError::Encoding(encoding));
        }
        take_lock(client).await?;
        Ok(Self { connection, database, role: None, address: address.clone() })
    }

    /// The locked connection.
    #[must_use]
    pub const fn client(&mut self) -> &mut Client {
        &mut self.connection.client
    }

    /// Acts as the owner of the schema from now on, where the login may; makes the roles if they are missing.
    ///
    /// # Errors
    /// See [`MigrateError`]
    pub async fn act_as_owner(&mut self) -> Result<(), MigrateError> {
        self.role = in_time(roles::prepare(&self.connection.client)).await?;
        Ok(())
    }

    /// Makes roles and schema and runs what has not run yet; makes the projections of a new log, or mends those of this
    /// release's set.
    ///
    /// # Errors
    /// See [`MigrateError`]; a failed migration leaves nothing behind.
    pub async fn run(
        &mut self,
        tables: &[&Table],
        projection_set: &str,
        log_id: LogId,
        epoch: i64,
    ) -> Result<Projections, MigrateError> {
        self.act_as_owner().await?;
        let Self { connection, database, .. } = self;
        let client = &mut connection.client;
        in_time(make_schemas(client)).await?;
        let binary = newest_version();
        let applied = in_time(applied_version(client)).await?.unwrap_or(0);
        if applied > binary {
            return Err(MigrateError::NewerSchema { database: applied, binary });
        }
        if applied < binary {
            run_migrations(client, database).await?;
        }
        in_time(client.batch_execute(LONG)).await?;
        let prepared = prepare_projections(client, tables, projection_set, log_id, epoch);
        let projections = while_alive(database, prepared).await??;
        in_time(client.batch_execute(SETTINGS)).await?;
        if self.role.is_none() && projections == Projections::Current {
            // The login itself will serve: it is told before it is asked for a master key.
            in_time_to(roles::check(&self.connection.client)).await?;
        }
        Ok(projections)
    }

    /// Carries out something that may take long on the locked connection, for as long as the server lives.
    ///
    /// # Errors
    /// Its own, or [`MigrateError::TimedOut`].
    pub async fn long<T, E: From<MigrateError> + From<tokio_postgres::Error>>(
        &mut self,
        work: impl AsyncFnOnce(&mut Client) -> Result<T, E>,
    ) -> Result<T, E> {
        in_time(self.connection.client.batch_execute(LONG)).await?;
        let done = while_alive(&self.database, work(&mut self.connection.client)).await??;
        in_time(self.connection.client.batch_execute(SETTINGS)).await?;
        Ok(done)
    }

    /// Grants the privileges that the serving role lacks, if there is such a role.
    ///
    /// # Errors
    /// See [`MigrateError`]
    pub async fn grant(&mut self) -> Result<(), MigrateError> {
        if self.role.is_some() {
            in_time(roles::grant(&self.connection.client)).await?;
        }
        Ok(())
    }

    /// Grants the privileges, and refuses a role that could not serve.
    ///
    /// # Errors
    /// See [`MigrateError`]
    pub async fn finish(&mut self) -> Result<(), MigrateError> {
        self.grant().await?;
        let client = &self.connection.client;
        if let Some(role) = self.role {
            in_time(client.batch_execute(&format!("set role {role}"))).await?;
        }
        let checked = in_time_to(roles::check(client)).await;
        in_time(client.batch_execute("reset role")).await?;
        checked
    }

    /// The database as it is served: under the serving role, where there is one.
    ///
    /// # Errors
    /// TLS cannot be set up.
    pub fn database(&self) -> Result<Database, ConnectError> {
        Database::new(&self.address, self.role)
    }
}

async fn run_migrations(client: &mut Client, database: &Database) -> Result<(), MigrateError> {
    in_time(client.batch_execute(MIGRATING)).await?;
    for attempt in 1.. {
        let mut runner = embedded::migrations::runner();
        runner.set_migration_table_name(HISTORY);
        match while_alive(database, runner.run_async(client)).await? {
            Ok(_) => break,
            Err(error) if attempt < MIGRATION_TRIES && is_locked(&error) => {
                tracing::warn!(
                    attempt,
                    "a migration waits for somebody's lock on the log; see pg_stat_activity"
                );
                tokio::time::sleep(MIGRATION_PAUSE).await;
            }
            Err(error) => return Err(MigrateError::Migration(Box::new(error))),
        }
    }
    Ok(())
}

/// Whether a lock was not granted in time.
fn is_locked(error: &refinery::Error) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<tokio_postgres::Error>() {
            return error.code().is_some_and(|code| code.code() == "55P03");
        }
        cause = error.source();
    }
    false
}

/// A short statement, or an error if it takes long.
async fn in_time<T>(work: impl Future<Output = Result<T, tokio_postgres::Error>>) -> Result<T, MigrateError> {
    in_time_to(async { Ok(work.await?) }).await
}

/// The same for several.
async fn in_time_to<T>(work: impl Future<Output = Result<T, MigrateError>>) -> Result<T, MigrateError> {
    timeout(STATEMENT_TIMEOUT, work).await.unwrap_or(Err(MigrateError::TimedOut))
}

/// Long work, for as long as the server answers others.
async fn while_alive<T>(database: &Database, work: impl Future<Output = T>) -> Result<T, MigrateError> {
    let mut work = std::pin::pin!(work);
    let mut silent = 0;
    loop {
        match timeout(WATCH_EVERY, &mut work).await {
            Ok(done) => return Ok(done),
            // A server that refuses one more connection lives.
            Err(_) => match database.connect_to_any("tenure watch", "").await {
                Err(ConnectError::TimedOut { .. }) if silent == 2 => return Err(MigrateError::TimedOut),
                Err(ConnectError::TimedOut { .. }) => silent += 1,
                _ => silent = 0,
            },
        }
    }
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
            let holder = holder(client).await?;
            tracing::warn!(holder, "waiting for another connection that prepares the database");
            noticed = Stopwatch::start();
        }
        if waiting.elapsed() >= LOCK_TIMEOUT {
            return Err(MigrateError::Locked { holder: holder(client).await? });
        }
        tokio::time::sleep(LOCK_POLL).await;
    }
}

/// Who holds the migration lock, for people.
async fn holder(client: &Client) -> Result<String, MigrateError> {
    let sql = "select coalesce(string_agg(format('process %s, %s', a.pid, coalesce(a.application_name, '?')), '; '), 'gone')
               from pg_locks l join pg_stat_activity a on a.pid = l.pid
               where l.locktype = 'advisory' and l.granted and l.objsubid = 1
                 and l.database = (select oid from pg_database where datname = current_database())
                 and (l.classid::bigint << 32 | l.objid::bigint) = $1";
    Ok(in_time(client.query_one(sql, &[&LOCK])).await?.try_get(0)?)
}

/// Makes the schemas that are missing; a login that may not is fine where they are there.
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

/// The schema version of a database, if it has one.
///
/// # Errors
/// The database cannot be read.
pub async fn applied_version(client: &Client) -> Result<Option<i64>, tokio_postgres::Error> {
    let exists: bool =
        client.query_one("select to_regclass($1) is not null", &[&HISTORY]).await?.try_get(0)?;
    if !exists {
        return Ok(None);
    }
    client.query_one(&format!("select max(version)::bigint from {HISTORY}"), &[]).await?.try_get(0)
}

/// Makes the head row and the projected tables of a new log; mends those of this release's set; leaves others alone.
async fn prepare_projections(
    client: &mut Client,
    tables: &[&Table],
    projection_set: &str,
    log_id: LogId,
    epoch: i64,
) -> Result<Projections, MigrateError> {
    let definition = view_tables::digest(tables);
    if let Some(row) = client.query_opt("select projection_set, view_definition from log.head", &[]).await? {
        let (database, standing): (String, String) = (row.try_get(0)?, row.try_get(1)?);
        if database != projection_set {
            let nodes = other_nodes(client).await?;
            if nodes > 0 {
                return Err(MigrateError::NodesRunning { database, nodes });
            }
            return Ok(Projections::Outdated(database));
        }
        if standing != definition {
            view_tables::mend(client, tables).await?;
        }
        return Ok(Projections::Current);
    }
    view_tables::create(client, tables).await?;
    // Last, because it says that the tables are there.
    let sql = "insert into log.head (log_id, epoch, projection_set, view_definition) values ($1, $2, $3, $4)";
    client.execute(sql, &[&log_id, &epoch, &projection_set, &definition]).await?;
    Ok(Projections::Current)
}

/// How many connections other nodes have to this database.
async fn other_nodes(client: &Client) -> Result<i64, tokio_postgres::Error> {
    let sql = "select count(*) from pg_stat_activity
               where datname = current_database() and application_name in ('tenure', 'tenure committer', 'tenure follower')";
    client.query_one(sql, &[]).await?.try_get(0)
}

/// Whether some release has given this name to an index of this table.
#[must_use]
pub fn is_index_of_ours(index: &str, table: &Table) -> bool {
    view_tables::is_ours(index, table)
}

/// The digest that [`Migration::run`] stores, for who makes the tables in another way.
#[must_use]
pub fn definition_of(tables: &[&Table]) -> String {
    view_tables::digest(tables)
}
