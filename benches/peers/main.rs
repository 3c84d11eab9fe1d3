//! Tenure against its peers, side by side on one durable PostgreSQL: medians of interleaved rounds.
//!
//! `--short` takes about two minutes; without it the rounds are longer, and the costs of a large log and of an open
//! snapshot, rebuilding, comparing and seeding are measured too. `--alone` measures only the first two of these. For whoever works on one figure, `--against NAME` leaves
//! out all peers but this one (or `nobody`), and `--in-flight N` all numbers of callers but this one. `--replay` measures
//! only the last three, `--subscribers` only what subscribers reach and cost, `--relay` only what the relay to `JetStream` does.

mod cqrs_es_peer;
mod growth;
mod measure;
mod ours;
mod plain_insert;
mod relay;
mod replay;
mod report;
mod server;
mod snapshot;
mod subscribers;
mod transaction_per_command;
mod workload;

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use cqrs_es_peer::CqrsEs;
use measure::{AnyLane, Contestant, Lane, Sample, Window, median};
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

/// The word that follows a flag.
fn named(flag: &str) -> Option<String> {
    std::env::args().skip_while(|argument| argument != flag).nth(1)
}

/// How many commands are in flight, one after the other.
fn levels() -> anyhow::Result<Vec<usize>> {
    let Some(only) = named("--in-flight") else { return Ok(LEVELS.to_vec()) };
    let level = only.parse().ok().filter(|level| (1..=MOST_CALLERS).contains(level));
    Ok(vec![level.ok_or_else(|| anyhow::anyhow!("--in-flight takes a number from 1 to {MOST_CALLERS}"))?])
}

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

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
    if asked("--replay") {
        let events = if asked("--short") { 100_000 } else { 1_000_000 };
        let result = replays(&server, events).await;
        server.stop().await?;
        return result;
    }
    if asked("--subscribers") {
        let events = if asked("--short") { 100_000 } else { 500_000 };
        let result = follow(&server, events).await;
        server.stop().await?;
        return result;
    }
    if asked("--relay") {
        let events = if asked("--short") { 100_000 } else { 1_000_000 };
        let result = relayed(&server, events).await;
        server.stop().await?;
        return result;
    }
    let result = async {
        let (rows, comparisons) = compare(&server, &extent).await?;
        report::print(&rows, &comparisons)?;
        let is_whole = extent.growth && extent.peers && levels()?.len() > 1 && named("--against").is_none();
        if is_whole {
            replays(&server, 1_000_000).await?;
            follow(&server, 500_000).await?;
            relayed(&server, 500_000).await?;
        }
        Ok(())
    };
    let result = result.await;
    server.stop().await?;
    result
}

async fn compare(server: &Server, extent: &Extent) -> anyhow::Result<(Vec<Row>, Vec<Comparison>)> {
    let bar = ProgressBar::no_length();
    bar.set_style(ProgressStyle::with_template("{bar:40} {pos}/{len}  {elapsed}  {msg}")?);
    let (mut rows, mut comparisons) = (Vec::new(), Vec::new());
    if extent.peers {
        peers(server, extent, &bar, &mut rows, &mut comparisons).await?;
    }
    if extent.growth && named("--against").is_none() {
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

/// Rebuilding, comparing and seeding.
async fn replays(server: &Server, events: u64) -> anyhow::Result<()> {
    let bar = ProgressBar::new_spinner();
    bar.enable_steady_tick(Duration::from_millis(200));
    let compared =
        replay::measure(server, events, events / 10, |text| bar.set_message(text.to_owned())).await?;
    bar.finish_and_clear();
    report::print_replays(&compared)
}

/// Subscribers that follow the log.
async fn follow(server: &Server, events: u64) -> anyhow::Result<()> {
    let bar = ProgressBar::new_spinner();
    bar.enable_steady_tick(Duration::from_millis(200));
    let lines = subscribers::measure(server, events, |text| bar.set_message(text.to_owned())).await?;
    bar.finish_and_clear();
    report::print_lines(&lines)
}

async fn relayed(server: &Server, events: u64) -> anyhow::Result<()> {
    let bar = ProgressBar::new_spinner();
    bar.enable_steady_tick(Duration::from_millis(200));
    let lines = relay::measure(server, events, |text| bar.set_message(text.to_owned())).await?;
    bar.finish_and_clear();
    report::print_lines(&lines)
}

/// Everybody at every level, in turn.
async fn peers(
    server: &Server,
    extent: &Extent,
    bar: &ProgressBar,
    rows: &mut Vec<Row>,
    comparisons: &mut Vec<Comparison>,
) -> anyhow::Result<()> {
    let (mut lanes, levels) = (lanes(server).await?, levels()?);
    bar.set_length((extent.rounds * levels.len() * lanes.len()) as u64);
    let mut samples: Vec<Vec<Vec<Sample>>> = vec![vec![Vec::new(); lanes.len()]; levels.len()];
    for round in 0..extent.rounds {
        for (level, callers) in levels.iter().copied().enumerate() {
            for turn in 0..lanes.len() {
                let place = (turn + round) % lanes.len();
                let lane = &mut lanes[place];
                bar.set_message(format!("{}, {callers} in flight", lane.name()));
                samples[level][place].push(lane.round(callers, extent.window).await?);
                bar.inc(1);
            }
        }
    }
    for (callers, samples) in levels.into_iter().zip(&samples) {
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

/// All contestants, or ours and the one that is asked for, each on a database of its own; ours is the first.
async fn lanes(server: &Server) -> anyhow::Result<Vec<Box<dyn AnyLane>>> {
    fn lane<C: Contestant>(contestant: C) -> Box<dyn AnyLane> {
        Box::new(Lane::new(contestant, MOST_CALLERS, &[]))
    }
    let only = named("--against");
    let asked = |name: &str| only.as_deref().is_none_or(|only| only == name);
    let mut lanes = vec![lane(Ours::new(server.tenure("ours").await?))];
    if asked(PlainInsert::NAME) {
        lanes.push(lane(PlainInsert::new(server.create("plain").await?).await?));
    }
    if asked(CqrsEs::NAME) {
        lanes.push(lane(CqrsEs::new(server.create("stock").await?).await?));
    }
    if asked(TransactionPerCommand::NAME) {
        let tenure = server.tenure("per_command").await?;
        lanes.push(lane(TransactionPerCommand::new(server.address("per_command"), tenure)));
    }
    anyhow::ensure!(lanes.len() > 1 || only.as_deref() == Some("nobody"), "--against names no contestant");
    Ok(lanes)
}
