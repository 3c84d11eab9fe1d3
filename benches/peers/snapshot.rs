//! What a transaction that stays open for a minute costs everybody else: a `pg_dump`, a forgotten session.

use std::time::Duration;

use tokio_postgres::NoTls;

use crate::measure::{AnyLane as _, Lane, Sample, Window};
use crate::ours::Ours;
use crate::server::Server;

/// How many callers there are.
pub const CALLERS: usize = 64;

const WINDOW: Window = Window { warm_up: Duration::from_secs(1), counted: Duration::from_secs(9) };

/// Windows of ten seconds under the open snapshot: the last one ends after more than a minute.
const WINDOWS: usize = 7;

/// The figures at the end of a minute under an open snapshot, then those before it.
pub async fn measure(server: &Server, progress: impl Fn(&str)) -> anyhow::Result<(Sample, Sample)> {
    progress("an open snapshot: before");
    let mut lane = Lane::new(Ours::new(server.tenure("snapshot").await?), CALLERS, &[]);
    let before = lane.round(CALLERS, WINDOW).await?;
    let (client, connection) = server.address("snapshot").config.connect(NoTls).await?;
    tokio::spawn(connection);
    client.batch_execute("begin isolation level repeatable read; select count(*) from log.event").await?;
    let mut last = before;
    for window in 1..=WINDOWS {
        progress(&format!("an open snapshot: {window} of {WINDOWS}"));
        last = lane.round(CALLERS, WINDOW).await?;
    }
    client.batch_execute("rollback").await?;
    Ok((last, before))
}
