//! Connections of a replay, and the lock that lets one rebuild run at a time.

use std::time::Duration;

use tokio::time::timeout;
use tokio_postgres::Client;

use super::error::ReplayError;
use crate::clock::Stopwatch;
use crate::event_log::drain::REBUILD_LOCK;
use crate::event_log::{EventLog, PrimaryError};
use crate::postgres::migrate::{APP_ROLE, OWNER_ROLE, lock_holder};
use crate::postgres::{Connection, STATEMENT_TIMEOUT, Watch};

/// Settings for statements over whole tables. Waiting for locks stays bounded, and so does a transaction whose client has
/// gone. Work memory is per connection; index builds use it. A connection may be idle for as long as the log is read, and a
/// snapshot lasts as long as it takes to read the tables. A server that builds an index does not look whether its client has gone,
/// unless it is told to, and would keep the lock of a killed rebuild until it is done.
const SETTINGS: &str = "
    set statement_timeout = 0; set lock_timeout = '5s'; set idle_in_transaction_session_timeout = '1min';
    set client_min_messages = warning;
    set maintenance_work_mem = '128MB';
    set idle_session_timeout = 0; set tcp_keepalives_idle = 30; set tcp_keepalives_interval = 5; set tcp_keepalives_count = 3;
    select set_config(name, '0', false) from pg_settings where name = 'transaction_timeout';
    select set_config('client_connection_check_interval', '1s', false) where version() ~* 'linux|darwin|bsd';";

/// The `application_name` of the connection that has the lock of a rebuild, and of those that read and load.
pub(super) const REBUILDING: &str = "tenure rebuild";
pub(super) const REPLAYING: &str = "tenure replay";

/// That of a comparison that replaces nothing.
pub(super) const COMPARING: &str = "tenure diff";

/// How long to wait for a sweep that has a lock for a moment.
const LOCK_WAIT: Duration = Duration::from_secs(1);

/// Opens a connection as the owner of the schemas, if nodes serve under the serving role; otherwise as the login.
pub(crate) async fn connect(log: &EventLog, name: &str) -> Result<Connection, ReplayError> {
    let role = (log.database().role() == Some(APP_ROLE)).then_some(OWNER_ROLE);
    let mut connection = log.database().with_role(role).connect(name, SETTINGS).await?;
    let checked = timeout(STATEMENT_TIMEOUT, log.seen().check(&mut connection.client)).await;
    checked.unwrap_or(Err(PrimaryError::TimedOut(STATEMENT_TIMEOUT)))?;
    Ok(connection)
}

/// Takes a lock for as long as the connection lasts. Waits a moment: sweeps take the locks of replays too. `Err` describes who
/// has it.
pub(super) async fn lock(client: &Client, lock: i64) -> Result<Result<(), String>, tokio_postgres::Error> {
    let since = Stopwatch::start();
    loop {
        let row = client.query_one("select pg_try_advisory_lock($1)", &[&lock]).await?;
        if row.try_get(0)? {
            return Ok(Ok(()));
        }
        if since.elapsed() > LOCK_WAIT {
            return Ok(Err(lock_holder(client, lock).await?));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
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

/// Runs work of any length, for as long as the server answers other connections.
pub(crate) async fn while_server_answers<T, E: From<ReplayError>>(
    log: &EventLog,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    let timed_out = || PrimaryError::TimedOut(STATEMENT_TIMEOUT);
    let watch = async {
        let connection = log.database().connect("tenure watch", "").await.map_err(PrimaryError::from)?;
        let watch = timeout(STATEMENT_TIMEOUT, Watch::of(log.database(), connection)).await;
        watch.map_err(|_| timed_out())?.map_err(PrimaryError::from)
    };
    let mut watch = watch.await.map_err(ReplayError::from)?;
    watch.during(work).await.unwrap_or_else(|_| Err(ReplayError::from(timed_out()).into()))
}
