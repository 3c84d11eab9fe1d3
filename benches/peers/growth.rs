//! What a command costs in a log of a million events, against one of ten thousand.

use tenure::{Tenure, seed};

use crate::measure::{AnyLane as _, Lane, Sample, Window, median};
use crate::ours::Ours;
use crate::server::Server;
use crate::workload::Person;

/// How many callers there are.
pub const CALLERS: usize = 64;

const SMALL: u64 = 10_000;
const LARGE: u64 = 1_000_000;

/// How many of the people in the log take part.
const ELDERS: i64 = 5_000;

/// The large log's figures, then the small one's.
pub async fn measure(
    server: &Server,
    rounds: usize,
    window: Window,
    progress: impl Fn(&str),
) -> anyhow::Result<(Sample, Sample)> {
    progress("filling a log with 1,000,000 events");
    let mut large = lane(server, "growth_large", LARGE).await?;
    let (mut large_samples, mut small_samples) = (Vec::new(), Vec::new());
    for round in 1..=rounds {
        // A fresh one each time, or it would not stay small.
        let name = format!("growth_small_{round}");
        let mut small = lane(server, &name, SMALL).await?;
        progress(&format!("growth, round {round} of {rounds}"));
        if round % 2 == 1 {
            large_samples.push(large.round(CALLERS, window).await?);
        }
        small_samples.push(small.round(CALLERS, window).await?);
        if round % 2 == 0 {
            large_samples.push(large.round(CALLERS, window).await?);
        }
        drop(small);
        server.remove(&name).await?;
    }
    Ok((median(&large_samples), median(&small_samples)))
}

/// Tenure on a database filled with so many events.
async fn lane(server: &Server, name: &str, events: u64) -> anyhow::Result<Lane<Ours>> {
    let tenure = server.tenure(name).await?;
    seed::generate(&tenure, events, 1, |_| {}).await?;
    server.settle().await?;
    let elders = elders(&tenure).await?;
    Ok(Lane::new(Ours::new(tenure), CALLERS, &elders))
}

async fn elders(tenure: &Tenure) -> anyhow::Result<Vec<Person>> {
    let sql = "select id, username from view.users where username not like '%~%' and id::text <> $2 order by random() limit $1";
    let rows = tenure
        .log()
        .primary()
        .rows(sql, &[&ELDERS, &tenure::ids::UserId::UNAUTHENTICATED.to_string()])
        .await?;
    Ok(rows
        .iter()
        .map(|row| Ok(Person { id: row.try_get(0)?, name: row.try_get(1)? }))
        .collect::<Result<_, tokio_postgres::Error>>()?)
}
