//! Inspects a database without changing it, for `tenure doctor`.

use tokio::time::timeout;
use tokio_postgres::Client;

use super::connect_error::ConnectError;
use super::connection::{Database, STATEMENT_TIMEOUT};
use super::migrate::{APP_ROLE, applied_version, is_expected_build, newest_version};
use super::migrate_error::MigrateError;
use super::pooler;
use super::roles::NEEDED;
use crate::clock::{Clock, Timestamp};
use crate::ids::LogId;

const SETTINGS: &str = "set statement_timeout = '9s'; set lock_timeout = '8s';";

/// The schema version that introduced builds of schema `view`.
const BUILDS_SINCE: i64 = 9;

/// The first schema version in which `log.head` stores the identity of the server.
const IDENTITY_SINCE: i64 = 4;

/// The findings about a database.
#[derive(Debug)]
#[allow(clippy::struct_excessive_bools)] // each flag is an independent finding
pub struct Health {
    /// The server version as text, such as `15.18`, to show to users.
    pub server_version: String,
    /// The server version as a number, such as 150018, to compare.
    pub server_version_num: i32,
    /// Whether the server is a standby or is still recovering.
    pub in_recovery: bool,
    /// Whether transactions are read-only by default.
    pub read_only: bool,
    /// The server encoding; Tenure needs UTF8.
    pub encoding: String,
    /// Names and values of the settings without which acknowledged writes can be lost.
    pub durability: Vec<(String, String)>,
    /// The version of Tenure's schema; none if the database was never migrated.
    pub schema_version: Option<i64>,
    /// Whether both roles exist, this login is a member of both, and `tenure_owner` owns the log if there is one.
    pub roles: bool,
    /// Whether this login, or the serving role that it is a member of, may write to the log; true without a log.
    pub may_write: bool,
    /// How many seconds the server's clock is behind this machine's; negative if it is ahead.
    pub clock_offset: f64,
    /// The log; none if the database was never migrated or has no head row.
    pub log: Option<Log>,
}

/// The findings about a log.
#[derive(Debug)]
pub struct Log {
    /// The identifier of the log.
    pub log_id: LogId,
    /// The name of the projection set in schema `view`.
    pub projection_set: String,
    /// The current epoch of its positions.
    pub epoch: i64,
    /// The newest position; 0 if the log is empty.
    pub newest: i64,
    /// Whether the server is the one that the log was last served from; none on a replica or before schema version 4.
    pub at_home: Option<bool>,
    /// The identifier of the master key that wraps its data keys; none without a key ring.
    pub key_id: Option<String>,
    /// How many ended accounts, users and memberships still have leftovers to clean up, and the age of the oldest in
    /// seconds; none for a log without the table `view.endings`.
    pub endings: Option<(i64, f64)>,
    /// Whether schema `view` is the build that the log expects; none for a log of a release that had no builds.
    pub is_expected_build: Option<bool>,
}

/// Why the database could not be inspected.
#[derive(Debug, thiserror::Error)]
pub enum HealthError {
    /// The connection failed.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// A statement failed.
    #[error("cannot inspect the database: {}", crate::postgres::statement_reason(.0))]
    Statement(#[from] tokio_postgres::Error),
    /// The address leads to a connection pooler in transaction mode.
    #[error("{}", MigrateError::Pooler)]
    Pooler,
    /// The server accepted the connection but did not answer the queries in time.
    #[error("PostgreSQL did not answer within {} s; check the server and the network", STATEMENT_TIMEOUT.as_secs())]
    TimedOut,
}

/// Inspects a database, and its log if it has one.
///
/// # Errors
/// [`HealthError`] if the database cannot be reached or read, or does not answer in time.
pub async fn look(database: &Database, clock: &dyn Clock) -> Result<Health, HealthError> {
    // A replica or a read-only server is a finding here, not an error.
    let connection = match database.connect("tenure doctor", SETTINGS).await {
        Err(ConnectError::Replica { .. } | ConnectError::ReadOnly { .. }) => {
            database.connect_to_any("tenure doctor", SETTINGS).await?
        }
        connected => connected?,
    };
    let second = database.connect_to_any("tenure doctor", "").await?;
    let looked = timeout(STATEMENT_TIMEOUT, async {
        // First: behind such a pooler, any later statement may fail for reasons that mislead.
        if pooler::shares_sessions(&connection.client, &second.client).await? {
            return Err(HealthError::Pooler);
        }
        look_on(&connection.client, clock).await
    });
    looked.await.unwrap_or(Err(HealthError::TimedOut))
}

/// Whether the role that nodes would serve under may serve: the login itself, or the serving role if the login may switch to it.
async fn may_serve(client: &Client, needed: &str) -> Result<bool, tokio_postgres::Error> {
    let allowed = async || client.query_one(needed, &[]).await?.try_get(0);
    let sql =
        "select exists (select from pg_roles where rolname = 'tenure_app' and pg_has_role(oid, 'member'))";
    if allowed().await? {
        return Ok(true);
    }
    if !client.query_one(sql, &[]).await?.try_get::<_, bool>(0)? {
        return Ok(false);
    }
    client.batch_execute(&format!("set role {APP_ROLE}")).await?;
    let may_serve = allowed().await;
    client.batch_execute("reset role").await?;
    may_serve
}

async fn look_on(client: &Client, clock: &dyn Clock) -> Result<Health, HealthError> {
    // Read before the query, so that a slow answer makes the server's clock look ahead, never behind.
    let asked = clock.now();
    let server = client
        .query_one(
            "select current_setting('server_version'), current_setting('server_version_num')::int,
                    current_setting('server_encoding'),
                    (select count(*) = 2 from pg_roles
                     where rolname in ('tenure_owner', 'tenure_app') and pg_has_role(oid, 'member'))
                    and coalesce((select nspowner = 'tenure_owner'::regrole from pg_namespace
                                  where nspname = 'log' and exists (select from pg_roles where rolname = 'tenure_owner')), true),
                    pg_is_in_recovery(), current_setting('transaction_read_only')::boolean, clock_timestamp()",
            &[],
        )
        .await?;
    let durability = client
        .query(
            "select name, setting from pg_settings where name in ('fsync', 'full_page_writes', 'synchronous_commit') order by 1",
            &[],
        )
        .await?;
    let durability = durability
        .iter()
        .map(|row| Ok((row.try_get(0)?, row.try_get(1)?)))
        .collect::<Result<_, tokio_postgres::Error>>()?;
    let schema_version = applied_version(client).await?;
    let mut log = match schema_version {
        None => None,
        Some(_) => client
            .query_opt(
                "select log_id, projection_set,
                        coalesce((select position from log.event order by position desc limit 1), 0),
                        (select key_id from log.key_ring k
                         order by to_jsonb(k) ->> 'state' in ('announced', 'former', 'retired') limit 1), epoch
                 from log.head",
                &[],
            )
            .await?
            .map(|row| {
                Ok::<_, tokio_postgres::Error>(Log {
                    log_id: row.try_get(0)?,
                    projection_set: row.try_get(1)?,
                    newest: row.try_get(2)?,
                    key_id: row.try_get(3)?,
                    epoch: row.try_get(4)?,
                    at_home: None,
                    endings: None,
                    is_expected_build: None,
                })
            })
            .transpose()?,
    };
    let in_recovery: bool = server.try_get(4)?;
    // Not on a standby: `log.server_identity()` calls `pg_current_wal_insert_lsn()`, which fails during recovery.
    if let Some(log) = log.as_mut().filter(|_| !in_recovery && schema_version >= Some(IDENTITY_SINCE)) {
        let sql = "select (h.system_identifier, h.timeline, h.head_oid) is not distinct from
                          (i.system_identifier, i.timeline, i.head_oid)
                   from log.head h, log.server_identity() i";
        log.at_home = Some(client.query_one(sql, &[]).await?.try_get(0)?);
    }
    if let Some(log) = log.as_mut().filter(|_| schema_version >= Some(BUILDS_SINCE)) {
        log.is_expected_build = Some(is_expected_build(client).await?);
    }
    // The log of an earlier release may lack the table.
    let has_endings = "select to_regclass('view.endings') is not null";
    if let Some(log) = &mut log
        && client.query_one(has_endings, &[]).await?.try_get(0)?
    {
        let sql =
            "select count(*), coalesce(extract(epoch from clock_timestamp() - min(at))::double precision, 0)
                   from view.endings";
        let row = client.query_one(sql, &[]).await?;
        log.endings = Some((row.try_get(0)?, row.try_get(1)?));
    }
    // The schema of another release has other privileges.
    let needed = if schema_version == Some(newest_version()) {
        NEEDED
    } else {
        "select has_table_privilege('log.event', 'insert')"
    };
    let may_write = schema_version.is_none() || may_serve(client, needed).await?;
    let server_time: Timestamp = server.try_get(6)?;
    let clock_offset = asked.seconds_since(server_time);
    Ok(Health {
        in_recovery,
        read_only: server.try_get(5)?,
        may_write,
        clock_offset,
        server_version: server.try_get(0)?,
        server_version_num: server.try_get(1)?,
        encoding: server.try_get(2)?,
        roles: server.try_get(3)?,
        durability,
        schema_version,
        log,
    })
}
