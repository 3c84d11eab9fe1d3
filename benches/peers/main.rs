//! Tenure against its peers, side by side on one durable PostgreSQL: medians of interleaved rounds.
//!
//! `--short` takes about two minutes; without it the rounds are longer, and the costs of a large log and of an open
//! snapshot are measured too. `--alone` measures only those two.

mod cqrs_es_peer;
mod growth;
mod measure;
mod ours;
mod plain_insert;
mod report;
mod server;
mod snapshot;
mod transaction_per_command;
mod workload;

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use cqrs_es_peer::CqrsEs;
use measure::{AnyLane, Contestant as _, Lane, Sample, Window, median};
use ours::Ours;
use plain_insert::PlainInsert;
use report::{Comparison, Row};
use server::Server;
use transaction_per_command::TransactionPerCommand;

/// How many commands are in flight.
const LEVELS: [usize; 4] = [1, 16, 64, 256];
const MOST_CALLERS: usize = 256;

/// How much is measured.
struct Extent {
    rounds: usize,
    window: Window,
    peers: bool,
    growth: bool,
}

impl Extent {
    const SHORT: Self = Self {
        rounds: 3,
        window: Window { warm_up: Duration::from_millis(400), counted: Duration::from_millis(1_200) },
        peers: true,
        growth: false,
    };
    const FULL: Self = Self {
        rounds: 5,
        window: Window { warm_up: Duration::from_secs(1), counted: Duration::from_secs(3) },
        peers: true,
        growth: true,
    };
    const ALONE: Self = Self {
        rounds: 3,
        window: Window { warm_up: Duration::from_secs(1), counted: Duration::from_secs(3) },
        peers: false,
        growth: true,
    };
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    // Cargo passes `--bench`, which says nothing here.
    let asked = |flag: &str| std::env::args().any(|argument| argument == flag);
    let extent = match (asked("--short"), asked("--alone")) {
        (_, true) => Extent::ALONE,
        (true, false) => Extent::SHORT,
        (false, false) => Extent::FULL,
    };
    let server = Server::start().await?;
    let result = compare(&server, &extent).await;
    let stopped = server.stop().await;
    let (rows, comparisons) = result?;
    stopped?;
    report::print(&rows, &comparisons)
}

async fn compare(server: &Server, extent: &Extent) -> anyhow::Result<(Vec<Row>, Vec<Comparison>)> {
    let bar = ProgressBar::new((extent.rounds * LEVELS.len() * 4) as u64);
    bar.set_style(ProgressStyle::with_template("{bar:40} {pos}/{len}  {elapsed}  {msg}")?);
    let (mut rows, mut comparisons) = (Vec::new(), Vec::new());
    if extent.peers {
        peers(server, extent, &bar, &mut rows, &mut comparisons).await?;
    }
    if extent.growth {
        let say = |text: &str| bar.set_message(text.to_owned());
        let (large, small) = growth::measure(server, extent.rounds, extent.window, say).await?;
        let costs = (1_000.0 / large.commands_per_second, 1_000.0 / small.commands_per_second);
        rows.push((growth::CALLERS, "tenure, 10,000 events", small, None));
        let ratios = (large.commands_per_second / small.commands_per_second, large.p50_ms / small.p50_ms);
        rows.push((growth::CALLERS, "tenure, 1,000,000 events", large, Some(ratios)));
        let growth = ("growth_10k_to_1m", "ms");
        comparisons.push(Comparison::new(growth, growth::CALLERS, "self", costs, large));
        let (under, before) = snapshot::measure(server, say).await?;
        let rates = (under.commands_per_second, before.commands_per_second);
        rows.push((snapshot::CALLERS, "tenure, no open snapshot", before, None));
        let ratios = (rates.0 / rates.1, under.p50_ms / before.p50_ms);
        rows.push((snapshot::CALLERS, "tenure, snapshot open for a minute", under, Some(ratios)));
        let snapshot = ("open_snapshot_60s", "commands/s");
        comparisons.push(Comparison::new(snapshot, snapshot::CALLERS, "self", rates, under));
    }
    bar.finish_and_clear();
    Ok((rows, comparisons))
}

/// Everybody at every level, in turn.
async fn peers(
    server: &Server,
    extent: &Extent,
    bar: &ProgressBar,
    rows: &mut Vec<Row>,
    comparisons: &mut Vec<Comparison>,
) -> anyhow::Result<()> {
    let mut lanes = lanes(server).await?;
    let mut samples: Vec<Vec<Vec<Sample>>> = vec![vec![Vec::new(); lanes.len()]; LEVELS.len()];
    for round in 0..extent.rounds {
        for (level, callers) in LEVELS.into_iter().enumerate() {
            for turn in 0..lanes.len() {
                let place = (turn + round) % lanes.len();
                let lane = &mut lanes[place];
                bar.set_message(format!("{}, {callers} in flight", lane.name()));
                samples[level][place].push(lane.round(callers, extent.window).await?);
                bar.inc(1);
            }
        }
    }
    for (callers, samples) in LEVELS.into_iter().zip(&samples) {
        let medians: Vec<Sample> = samples.iter().map(|samples| median(samples)).collect();
        let ours = medians[0];
        rows.push((callers, Ours::NAME, ours, None));
        for (lane, theirs) in lanes.iter().zip(&medians).skip(1) {
            let rates = (ours.commands_per_second, theirs.commands_per_second);
            let latencies = (ours.p50_ms, theirs.p50_ms);
            let name = lane.name();
            rows.push((callers, name, *theirs, Some((rates.0 / rates.1, latencies.0 / latencies.1))));
            let rate = ("commands_per_second", "commands/s");
            comparisons.push(Comparison::new(rate, callers, name, rates, ours));
            comparisons.push(Comparison::new(("latency_p50_ms", "ms"), callers, name, latencies, ours));
        }
    }
    Ok(())
}

/// All contestants, each on a database of its own; ours is the first.
async fn lanes(server: &Server) -> anyhow::Result<Vec<Box<dyn AnyLane>>> {
    let ours = Ours::new(server.tenure("ours").await?);
    let plain = PlainInsert::new(server.create("plain").await?).await?;
    let stock = CqrsEs::new(server.create("stock").await?).await?;
    let tenure = server.tenure("per_command").await?;
    let per_command = TransactionPerCommand::new(server.address("per_command"), tenure);
    Ok(vec![
        Box::new(Lane::new(ours, MOST_CALLERS, &[])),
        Box::new(Lane::new(plain, MOST_CALLERS, &[])),
        Box::new(Lane::new(stock, MOST_CALLERS, &[])),
        Box::new(Lane::new(per_command, MOST_CALLERS, &[])),
    ])
}
