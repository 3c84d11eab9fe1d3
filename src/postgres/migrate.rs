//! Bringing a database up to this release: roles, schema, privileges; one node at a time, however many start.

use tokio_postgres::Client;

use super::connection::{ConnectError, Connection, Database};
use super::url::Address;
use super::version::{self, TooOld};
use crate::event_log::row_sql;
use crate::event_log::rows::Table;
use crate::ids::LogId;

mod embedded {
    refinery::embed_migrations!("migrations");
}

/// Owns the schema.
pub const OWNER_ROLE: &str = "tenure_owner";

/// Serves: may append to the log and never change it.
pub const APP_ROLE: &str = "tenure_app";

/// Taken while migrating; "tenure" in ASCII.
const LOCK: i64 = 0x74_65_6e_75_72_65;

const HISTORY: &str = "log.schema_history";

/// What the serving role may do; what is not here it may not.
const PRIVILEGES: &str = "
    revoke all on schema log, view from public;
    grant usage on schema log, view to tenure_app;
    grant select on all tables in schema log, view to tenure_app;
    grant insert on log.event to tenure_app;
    grant update (fence) on log.head to tenure_app;
    grant insert, update on log.guard, log.snapshot to tenure_app;
    grant insert, delete on log.idempotency to tenure_app;
    revoke all on schema coarse from public;
    grant usage on schema coarse to tenure_app;
    grant select, insert, update, delete on all tables in schema coarse to tenure_app;
    grant execute on all functions in schema coarse to tenure_app;
    grant insert, delete on log.data_key to tenure_app;
    revoke update, delete, truncate on log.event from tenure_owner;
    grant insert, update, delete on all tables in schema view to tenure_app;";

/// Why a database could not be brought up to this release.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// There is no connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The server is too old.
    #[error(transparent)]
    TooOld(#[from] TooOld),
    /// The database was migrated by a newer release.
    #[error(
        "the database has schema version {database}, this release knows {binary}: \
         run the release that made it, or a newer one"
    )]
    NewerSchema {
        /// The version of the database.
        database: i64,
        /// The newest version that this binary knows.
        binary: i64,
    },
    /// The database does not store text as UTF-8.
    #[error("the database is encoded as {0}; create one with `encoding 'UTF8' template template0`")]
    Encoding(String),
    /// The projections in the database are of another release.
    #[error(
        "the database holds projections {database}, this release maintains {binary}: they must be rebuilt"
    )]
    Projections {
        /// The set in the database.
        database: String,
        /// The set of this binary.
        binary: String,
    },
    /// A migration failed; nothing of it remains.
    #[error("a migration failed: {0}")]
    Migration(#[source] Box<refinery::Error>),
    /// A statement failed.
    #[error("preparing the database failed")]
    Statement(#[from] tokio_postgres::Error),
}

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

/// A connection that holds the migration lock until it is dropped.
pub struct Migration {
    connection: Connection,
    role: Option<&'static str>,
    address: Address,
}

impl Migration {
    /// Connects, checks the server and takes the lock, waiting for whoever holds it.
    ///
    /// # Errors
    /// No connection, or a server that Tenure does not run on.
    pub async fn begin(address: &Address) -> Result<Self, MigrateError> {
        let connection = Database::new(address, None, 1)?.connect("tenure migrate").await?;
        let client = &connection.client;
        let row = client
            .query_one(
                "select current_setting('server_version_num')::int, current_setting('server_encoding')",
                &[],
            )
            .await?;
        version::supported(row.try_get(0)?)?;
        let encoding: String = row.try_get(1)?;
        if encoding != "UTF8" {
            return Err(MigrateError::Encoding(encoding));
        }
        client.execute("select pg_advisory_lock($1)", &[&LOCK]).await?;
        Ok(Self { connection, role: None, address: address.clone() })
    }

    /// The locked connection.
    #[must_use]
    pub const fn client(&self) -> &Client {
        &self.connection.client
    }

    /// Makes roles and schema, runs what has not run yet, and sets the privileges.
    ///
    /// # Errors
    /// See [`MigrateError`]; a failed migration leaves nothing behind.
    pub async fn run(
        &mut self,
        tables: &[&Table],
        projection_set: &str,
        log_id: LogId,
    ) -> Result<(), MigrateError> {
        let client = &mut self.connection.client;
        self.role = prepare_roles(client).await?;
        client
            .batch_execute(
                "set client_min_messages = warning; create schema if not exists log; create schema if not exists view",
            )
            .await?;
        let (binary, database) = (newest_version(), applied_version(client).await?.unwrap_or(0));
        if database > binary {
            return Err(MigrateError::NewerSchema { database, binary });
        }
        let mut runner = embedded::migrations::runner();
        runner.set_migration_table_name(HISTORY);
        runner.run_async(client).await.map_err(|error| MigrateError::Migration(Box::new(error)))?;
        prepare_projections(client, tables, projection_set, log_id).await?;
        if self.role.is_some() && !is_privileged(client).await? {
            client.batch_execute(PRIVILEGES).await?;
        }
        client.batch_execute("reset role").await?;
        Ok(())
    }

    /// The database as it is served: under the serving role, where there is one.
    ///
    /// # Errors
    /// TLS cannot be set up.
    pub fn database(&self, connections: usize) -> Result<Database, ConnectError> {
        Database::new(&self.address, self.role, connections)
    }
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

/// Makes the two roles where the login may, and acts as the owner from then on; gives the role that serves.
async fn prepare_roles(client: &Client) -> Result<Option<&'static str>, tokio_postgres::Error> {
    let row = client
        .query_one(
            "select r.rolsuper, r.rolsuper or r.rolcreaterole,
                    (select r.rolsuper or pg_has_role(d.datdba, 'member') from pg_database d
                     where d.datname = current_database())
             from pg_roles r where r.rolname = current_user",
            &[],
        )
        .await?;
    let (superuser, creates, owns): (bool, bool, bool) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
    for role in [OWNER_ROLE, APP_ROLE] {
        if creates {
            // Roles belong to the whole cluster, so another database's migration may make them at the same moment.
            client
                .batch_execute(&format!(
                    "do $$ begin
                         if not exists (select from pg_roles where rolname = '{role}') then
                             create role {role} nologin;
                         end if;
                     exception when duplicate_object or unique_violation then null;
                     end $$"
                ))
                .await?;
        }
        let member = client
            .query_one("select count(*) filter (where pg_has_role(oid, 'member')) = 1, count(*) = 1 from pg_roles where rolname = $1", &[&role])
            .await?;
        let (member, exists): (bool, bool) = (member.try_get(0)?, member.try_get(1)?);
        if !exists || !(superuser || member || creates) {
            return Ok(None);
        }
        if !superuser && !member {
            client.batch_execute(&format!("grant {role} to current_user")).await?;
        }
    }
    if owns {
        client
            .batch_execute(
                "do $$ begin
                     if not has_database_privilege('tenure_owner', current_database(), 'create') then
                         execute format('grant create on database %I to tenure_owner', current_database());
                     end if;
                 end $$",
            )
            .await?;
    }
    let may_create: bool = client
        .query_one(
            "select has_database_privilege('tenure_owner', current_database(), 'create')
                    and (select coalesce(bool_and(nspowner = 'tenure_owner'::regrole), true)
                         from pg_namespace where nspname in ('log', 'view'))",
            &[],
        )
        .await?
        .try_get(0)?;
    if !may_create {
        return Ok(None);
    }
    client.batch_execute(&format!("set role {OWNER_ROLE}")).await?;
    Ok(Some(APP_ROLE))
}

/// Whether the serving role may do what it must: [`PRIVILEGES`] are granted together, so the last one tells. Granted
/// only where they are missing, because each grant makes every node plan its statements anew.
async fn is_privileged(client: &Client) -> Result<bool, tokio_postgres::Error> {
    let sql = "select coalesce(bool_and(has_table_privilege('tenure_app', c.oid, 'select, insert, update, delete')), false)
                      and has_table_privilege('tenure_app', 'log.event', 'insert')
               from pg_class c where c.relnamespace = 'view'::regnamespace and c.relkind = 'r'";
    client.query_one(sql, &[]).await?.try_get(0)
}

/// Makes the head row and the projected tables of a new log; refuses those of another release.
async fn prepare_projections(
    client: &Client,
    tables: &[&Table],
    projection_set: &str,
    log_id: LogId,
) -> Result<(), MigrateError> {
    if let Some(row) = client.query_opt("select projection_set from log.head", &[]).await? {
        let database: String = row.try_get(0)?;
        if database != projection_set {
            return Err(MigrateError::Projections { database, binary: projection_set.to_owned() });
        }
        return Ok(());
    }
    for table in tables {
        client.batch_execute(&row_sql::ddl(table, "view")).await?;
    }
    // Last, because it says that the tables are there.
    let sql = "insert into log.head (log_id, projection_set) values ($1, $2)";
    client.execute(sql, &[&log_id, &projection_set]).await?;
    Ok(())
}
