//! A look at a database without changing it.

use super::connection::{ConnectError, Database};
use super::migrate::applied_version;
use crate::ids::LogId;

/// What a database says of itself.
#[derive(Debug)]
pub struct Health {
    /// For people.
    pub server_version: String,
    /// For comparing.
    pub server_version_num: i32,
    /// How text is stored.
    pub encoding: String,
    /// Settings without which acknowledged writes can be lost.
    pub durability: Vec<(String, String)>,
    /// The version of Tenure's schema, if there is one.
    pub schema_version: Option<i64>,
    /// Whether both roles exist, and this login may act as them.
    pub roles: bool,
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
    /// The newest position.
    pub newest: i64,
    /// The master key that wraps its keys.
    pub key_id: Option<String>,
}

/// Why nothing could be seen.
#[derive(Debug, thiserror::Error)]
pub enum HealthError {
    /// There is no connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// A statement failed.
    #[error("the database cannot be looked at: {0}")]
    Statement(#[from] tokio_postgres::Error),
}

/// Looks at a database.
///
/// # Errors
/// It cannot be reached or read.
pub async fn look(database: &Database) -> Result<Health, HealthError> {
    let connection = database.connect("tenure doctor").await?;
    let client = &connection.client;
    let server = client
        .query_one(
            "select current_setting('server_version'), current_setting('server_version_num')::int,
                    current_setting('server_encoding'),
                    (select count(*) = 2 from pg_roles
                     where rolname in ('tenure_owner', 'tenure_app') and pg_has_role(oid, 'member'))",
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
    let log = match schema_version {
        None => None,
        Some(_) => client
            .query_opt(
                "select log_id, projection_set,
                        coalesce((select position from log.event order by position desc limit 1), 0),
                        (select key_id from log.key_ring limit 1)
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
                })
            })
            .transpose()?,
    };
    Ok(Health {
        server_version: server.try_get(0)?,
        server_version_num: server.try_get(1)?,
        encoding: server.try_get(2)?,
        roles: server.try_get(3)?,
        durability,
        schema_version,
        log,
    })
}
