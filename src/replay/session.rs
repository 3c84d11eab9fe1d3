//! Connections of a replay, and the lock that lets one rebuild run at a time.

use tokio::time::timeout;
use tokio_postgres::Client;

use super::error::ReplayError;
use crate::event_log::drain::REBUILD_LOCK;
use crate::event_log::{EventLog, PrimaryError};
use crate::postgres::migrate::{APP_ROLE, OWNER_ROLE, lock_holder, while_alive};
use crate::postgres::{Connection, STATEMENT_TIMEOUT};

/// Settings for statements over whole tables. Waiting for locks stays bounded, and so does a transaction whose client has
/// gone. Work memory is per connection; index builds use it.
const SETTINGS: &str = "
    set statement_timeout = 0; set lock_timeout = '5s'; set idle_in_transaction_session_timeout = '1min';
    set client_min_messages = warning; set max_parallel_workers_per_gather = 0; set jit = off;
    set maintenance_work_mem = '128MB'; set default_transaction_isolation = 'read committed';";

/// Opens a connection as the owner of the schemas, if nodes serve under the serving role; otherwise as the login.
pub(crate) async fn connect(log: &EventLog, name: &str) -> Result<Connection, ReplayError> {
    let role = (log.database().role() == Some(APP_ROLE)).then_some(OWNER_ROLE);
    let mut connection = log.database().with_role(role).connect(name, SETTINGS).await?;
    let checked = timeout(STATEMENT_TIMEOUT, log.seen().check(&mut connection.client)).await;
    checked.unwrap_or(Err(PrimaryError::TimedOut(STATEMENT_TIMEOUT)))?;
    Ok(connection)
}

/// Takes the lock of a rebuild for as long as the connection lasts. `Err` describes who has it.
pub(super) async fn lock(client: &Client) -> Result<Result<(), String>, ReplayError> {
    let locked: bool =
        client.query_one("select pg_try_advisory_lock($1)", &[&REBUILD_LOCK]).await?.try_get(0)?;
    Ok(if locked { Ok(()) } else { Err(lock_holder(client, REBUILD_LOCK).await?) })
}

/// Gives the lock of a rebuild back.
pub(super) async fn unlock(client: &Client) -> Result<(), ReplayError> {
    client.query_one("select pg_advisory_unlock($1)", &[&REBUILD_LOCK]).await?;
    Ok(())
}

/// Drops the schemas that earlier rebuilds have left. Returns those that could not be dropped yet, and why.
pub(super) async fn drop_leftovers(client: &Client) -> Result<Vec<(String, String)>, ReplayError> {
    let sql = "select schema_name, reason from log.drop_leftover_schemas()";
    let rows = client.query(sql, &[]).await?;
    Ok(rows
        .iter()
        .map(|row| Ok((row.try_get(0)?, row.try_get(1)?)))
        .collect::<Result<_, tokio_postgres::Error>>()?)
}

/// Runs a statement of any length, for as long as the server answers other connections.
pub(super) async fn long<T>(
    log: &EventLog,
    work: impl Future<Output = Result<T, ReplayError>>,
) -> Result<T, ReplayError> {
    while_alive(log.database(), work).await.unwrap_or(Err(PrimaryError::TimedOut(STATEMENT_TIMEOUT).into()))
}
