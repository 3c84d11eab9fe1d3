//! A look at a database without changing it.

use tokio::time::timeout;
use tokio_postgres::Client;

use super::connect_error::ConnectError;
use super::connection::{Database, STATEMENT_TIMEOUT};
use super::migrate::applied_version;
use crate::clock::{Clock, Timestamp};
use crate::ids::LogId;

const SETTINGS: &str = "set statement_timeout = '9s'; set lock_timeout = '8s';";

/// The schema version from which on a log knows the server that it is served from.
const IDENTITY_SINCE: i64 = 4;

/// What a database says of itself.
#[derive(Debug)]
#[allow(clippy::struct_excessive_bools)] // each is a finding of its own
pub struct Health {
    /// For people.
    pub server_version: String,
    /// For comparing.
    pub server_version_num: i32,
    /// Whether the server is a standby, or still recovers.
    pub in_recovery: bool,
    /// Whether it is set to read only.
    pub read_only: bool,
    /// How text is stored.
    pub encoding: String,
    /// Settings without which acknowledged writes can be lost.
    pub durability: Vec<(String, String)>,
    /// The version of Tenure's schema, if there is one.
    pub schema_version: Option<i64>,
    /// Whether both roles exist, and this login may act as them.
    pub roles: bool,
    /// Whether this login, or the serving role that it may act as, may write to the log.
    pub may_write: bool,
    /// By how many seconds the server's clock is behind this machine's; negative if it is ahead.
    pub clock_offset: f64,
    /// The log, if there is one.
    pub log: Option<Log>,
}

/// What a log says of itself.
#[derive(Debug)]
pub struct Log {
    /// Which log this is.
    pub log_id: LogId,
    /// The set of projections in `view`.
    pub projection_set: String,
    /// The epoch of positions.
    pub epoch: i64,
    /// The newest position.
    pub newest: i64,
    /// Whether it is served from the server that it was served from last; not known on a replica.
    pub at_home: Option<bool>,
    /// The master key that wraps its keys.
    pub key_id: Option<String>,
    /// How many accounts, people and memberships have ended and left something behind, and for how many seconds the oldest
    /// has; not known of a log of before.
    pub endings: Option<(i64, f64)>,
}

/// Why nothing could be seen.
#[derive(Debug, thiserror::Error)]
pub enum HealthError {
    /// There is no connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// A statement failed.
    #[error("the database cannot be looked at: {}", crate::postgres::statement_reason(.0))]
    Statement(#[from] tokio_postgres::Error),
    /// The server does not answer.
    #[error("PostgreSQL did not answer within {} s", STATEMENT_TIMEOUT.as_secs())]
    TimedOut,
}

/// Looks at a database.
///
/// # Errors
/// It cannot be reached or read.
pub async fn look(database: &Database, clock: &dyn Clock) -> Result<Health, HealthError> {
    let connection = database.connect_to_any("tenure doctor", SETTINGS).await?;
    let looked = timeout(STATEMENT_TIMEOUT, look_on(&connection.client, clock)).await;
    looked.unwrap_or(Err(HealthError::TimedOut))
}

async fn look_on(client: &Client, clock: &dyn Clock) -> Result<Health, HealthError> {
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
                        (select key_id from log.key_ring limit 1), epoch
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
                })
            })
            .transpose()?,
    };
    let in_recovery: bool = server.try_get(4)?;
    if let Some(log) = log.as_mut().filter(|_| !in_recovery && schema_version >= Some(IDENTITY_SINCE)) {
        let sql = "select (h.system_identifier, h.timeline, h.head_oid) is not distinct from
                          (i.system_identifier, i.timeline, i.head_oid)
                   from log.head h, log.server_identity() i";
        log.at_home = Some(client.query_one(sql, &[]).await?.try_get(0)?);
    }
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
    let sql = "select has_table_privilege('log.event', 'insert')
                      or exists (select from pg_roles where rolname = 'tenure_app' and pg_has_role(oid, 'member')
                                 and has_table_privilege(oid, 'log.event', 'insert'))";
    let may_write = schema_version.is_none() || client.query_one(sql, &[]).await?.try_get(0)?;
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
