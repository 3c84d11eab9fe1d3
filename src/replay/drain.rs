//! Asks the nodes of the release before to stop writing, before their projections are replaced.

use std::time::Duration;

use tokio::time::sleep;
use tokio_postgres::Client;

use super::error::ReplayError;
use crate::clock::Stopwatch;

/// How often it is asked whether all nodes have stopped.
const POLL: Duration = Duration::from_millis(50);

/// How long an announcement lasts, and how often it is renewed. Nodes go on if the release that made it freezes.
const EXPIRES_AFTER: Duration = Duration::from_secs(10);
const RENEW_EVERY: Duration = Duration::from_secs(1);

/// Announces the set that replaces the present one, or renews the announcement. Nodes that maintain another stop writing.
pub(super) async fn announce(client: &Client, set: &str) -> Result<(), ReplayError> {
    let sql = "update log.head set next_projection_set = $1,
                                   next_set_until = clock_timestamp() + make_interval(secs => $2)";
    client.execute(sql, &[&set, &EXPIRES_AFTER.as_secs_f64()]).await?;
    Ok(())
}

/// Takes an announcement back.
pub(super) async fn withdraw(client: &Client) -> Result<(), ReplayError> {
    let sql = "update log.head set next_projection_set = null, next_set_until = null where next_projection_set is not null";
    client.execute(sql, &[]).await?;
    Ok(())
}

/// Waits until no node maintains another set, at most this long. Returns how many still do.
pub(super) async fn wait(client: &Client, set: &str, most: Duration) -> Result<i64, ReplayError> {
    let waited = Stopwatch::start();
    let mut announced = Stopwatch::start();
    let sql = "select count(*) from log.node 
               where projection_set <> $1 and not is_drained and expires_at > clock_timestamp()";
    loop {
        let left: i64 = client.query_one(sql, &[&set]).await?.try_get(0)?;
        if left == 0 || waited.elapsed() >= most {
            // The rows of nodes that died are of no use to anybody.
            client.execute("delete from log.node where expires_at < clock_timestamp()", &[]).await?;
            return Ok(left);
        }
        if announced.elapsed() >= RENEW_EVERY {
            announce(client, set).await?;
            announced = Stopwatch::start();
        }
        sleep(POLL).await;
    }
}
