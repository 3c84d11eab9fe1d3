//! What subscribers reach and cost: how fast they catch up, how soon after its commit an event is handled, and what writers
//! lose by them.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::Serialize;
use tenure::clock::Stopwatch;
use tenure::context::{Actor, Context};
use tenure::event_log::RecordedEvent;
use tenure::subscribers::{
    Delivery, EffectHandler, Failure, Running, Start, Subscription, TransactionalHandler,
};
use tenure::{Tenure, seed};
use tokio::task::JoinSet;
use tokio_postgres::{NoTls, Transaction};

use crate::measure::{AnyLane as _, Lane, Sample, Window, median};
use crate::ours::Ours;
use crate::server::Server;

/// How many callers write while subscribers follow.
const CALLERS: usize = 64;

/// Rounds with subscribers and without.
const ROUNDS: usize = 5;

const WINDOW: Window = Window { warm_up: Duration::from_millis(500), counted: Duration::from_millis(2_500) };

/// How many commands are sent in a second while the delay is measured, and for how long.
const RATE: u64 = 1_000;
const SECONDS: u64 = 10;

/// One line of the result.
#[derive(Serialize)]
pub struct Line {
    pub measure: &'static str,
    pub figure: f64,
    pub unit: &'static str,
    /// What it should be.
    pub target: &'static str,
}

pub fn line(measure: &'static str, figure: f64, unit: &'static str, target: &'static str) -> Line {
    Line { measure, figure: (figure * 1_000.0).round() / 1_000.0, unit, target }
}

/// Does nothing, and counts.
#[derive(Clone, Default)]
struct Nothing(Arc<AtomicI64>);

impl EffectHandler for Nothing {
    async fn handle(&self, event: &RecordedEvent, _: &Delivery) -> Result<(), Failure> {
        self.0.store(event.position, Ordering::Relaxed);
        Ok(())
    }
}

/// Writes a row for each event.
struct Table;

impl TransactionalHandler for Table {
    async fn handle(
        &self,
        events: &[Arc<RecordedEvent>],
        _: &Delivery,
        transaction: &Transaction<'_>,
    ) -> Result<(), Failure> {
        let positions: Vec<i64> = events.iter().map(|event| event.position).collect();
        let types: Vec<&str> = events.iter().map(|event| &*event.event_type).collect();
        let sql = "insert into service.seen select * from unnest($1::bigint[], $2::text[])";
        transaction.execute(sql, &[&positions, &types]).await?;
        Ok(())
    }
}

/// Notes when each event came.
#[derive(Clone)]
struct Arrivals {
    watch: Arc<Stopwatch>,
    at: Arc<Mutex<HashMap<i64, Duration>>>,
}

impl EffectHandler for Arrivals {
    async fn handle(&self, event: &RecordedEvent, _: &Delivery) -> Result<(), Failure> {
        let at = self.watch.elapsed();
        if let Ok(mut all) = self.at.lock() {
            all.insert(event.position, at);
        }
        Ok(())
    }
}

/// Everything, on databases of its own.
pub async fn measure(server: &Server, events: u64, progress: impl Fn(&str)) -> anyhow::Result<Vec<Line>> {
    let mut all = catch_up(server, events, &progress).await?;
    progress("the delay at 1,000 commands a second");
    all.extend(delay(server).await?);
    progress("writers with two subscribers and without");
    all.push(cost(server).await?);
    Ok(all)
}

async fn make_table(server: &Server, database: &str) -> anyhow::Result<()> {
    let (client, connection) = server.address(database).config.connect(NoTls).await?;
    tokio::spawn(connection);
    let sql = "create schema service; create table service.seen (position bigint primary key, event_type text not null);
               grant usage on schema service to tenure_app; grant insert, delete on service.seen to tenure_app";
    Ok(client.batch_execute(sql).await?)
}

/// Waits until no slice of a subscription is behind a position, and returns how many events it had to handle.
async fn until_at(tenure: &Tenure, name: &str, position: i64) -> anyhow::Result<()> {
    loop {
        let sql = "select min(position) from log.subscription_slice where subscription = $1";
        let row = tenure.log().primary().row(sql, &[&name]).await?;
        let reached: Option<i64> = row.map_or(Ok(None), |row| row.try_get(0))?;
        if reached.is_some_and(|reached| reached >= position) {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn catch_up(server: &Server, events: u64, progress: &impl Fn(&str)) -> anyhow::Result<Vec<Line>> {
    progress("seeding a log for subscribers");
    let tenure = server.tenure("catch_up").await?;
    make_table(server, "catch_up").await?;
    seed::generate(&tenure, events, 1, |_| {}).await?;
    let newest = tenure.log().newest().await?;
    server.settle().await?;
    let mut all = Vec::new();
    let rate = |seconds: f64| {
        #[allow(clippy::cast_precision_loss)]
        let rate = newest as f64 / seconds;
        rate.round()
    };
    for (measure, name, slices) in
        [("catch_up_no_op", "nothing", 1), ("catch_up_no_op_8_slices", "nothing_8", 8)]
    {
        progress("catching up without a table");
        let subscription = Subscription::new(name, 1)?.slices(slices).checkpoint_every(1_000);
        let watch = Stopwatch::start();
        let running = subscription.start_effects(&tenure, Nothing::default()).await?;
        until_at(&tenure, name, newest).await?;
        all.push(line(measure, rate(watch.elapsed().as_secs_f64()), "events/s", ">= 100000"));
        running.stop().await;
    }
    progress("catching up with a table");
    let watch = Stopwatch::start();
    let running = Subscription::new("table", 1)?.start_transactional(&tenure, Table).await?;
    until_at(&tenure, "table", newest).await?;
    all.push(line("catch_up_table", rate(watch.elapsed().as_secs_f64()), "events/s", ">= 20000"));
    running.stop().await;
    tenure.close().await;
    Ok(all)
}

/// Sends so many commands a second for so long. Returns the position of each, and when it was acknowledged.
pub async fn at_a_rate(
    tenure: &Tenure,
    watch: &Arc<Stopwatch>,
    rate: u64,
    seconds: u64,
) -> anyhow::Result<Vec<(i64, Duration)>> {
    let (mut calls, begun) = (JoinSet::new(), Stopwatch::start());
    for number in 0..rate * seconds {
        let due = Duration::from_micros(number * 1_000_000 / rate);
        tokio::time::sleep(due.saturating_sub(begun.elapsed())).await;
        let (tenure, watch) = (tenure.clone(), watch.clone());
        calls.spawn(async move {
            let (name, context) = (format!("n{number}"), Context::of(Actor::Operator));
            let email = format!("{name}@example.org");
            let done = tenure.insert_user(&context, &name, &email, "internal").await?;
            anyhow::Ok((done.checkpoint.position, watch.elapsed()))
        });
    }
    let mut acknowledged = Vec::new();
    while let Some(call) = calls.join_next().await {
        acknowledged.push(call??);
    }
    Ok(acknowledged)
}

/// How long after the acknowledgement of a command its event is handled.
async fn delay(server: &Server) -> anyhow::Result<Vec<Line>> {
    let tenure = server.tenure("delay").await?;
    let arrivals = Arrivals { watch: Arc::new(Stopwatch::start()), at: Arc::default() };
    let subscription = Subscription::new("arrivals", 1)?.starting_at(Start::Newest).checkpoint_every(100);
    let running = subscription.start_effects(&tenure, arrivals.clone()).await?;
    let acknowledged = at_a_rate(&tenure, &arrivals.watch, RATE, SECONDS).await?;
    until_at(&tenure, "arrivals", tenure.log().newest().await?).await?;
    running.stop().await;
    tenure.close().await;
    let at = arrivals.at.lock().map_err(|_| anyhow::anyhow!("a handler has panicked"))?;
    let mut delays = Vec::new();
    for (position, told) in acknowledged {
        let handled = at.get(&position).ok_or_else(|| anyhow::anyhow!("event {position} was not handled"))?;
        delays.push(handled.saturating_sub(told).as_secs_f64() * 1_000.0);
    }
    delays.sort_by(f64::total_cmp);
    let percentile = |percent: usize| delays[(delays.len() - 1) * percent / 100];
    Ok(vec![
        line("commit_to_handler_p50", percentile(50), "ms", "<= 1"),
        line("commit_to_handler_p99", percentile(99), "ms", "<= 5"),
    ])
}

/// The rate of writers with two subscribers, divided by that without.
async fn cost(server: &Server) -> anyhow::Result<Line> {
    let tenure = server.tenure("cost").await?;
    make_table(server, "cost").await?;
    let mut lane = Lane::new(Ours::new(tenure.clone()), CALLERS, &[]);
    let (mut with, mut without): (Vec<Sample>, Vec<Sample>) = (Vec::new(), Vec::new());
    lane.round(CALLERS, WINDOW).await?;
    for _ in 0..ROUNDS {
        without.push(lane.round(CALLERS, WINDOW).await?);
        let running = start_two(&tenure).await?;
        let newest = tenure.log().newest().await?;
        for name in ["nothing", "table"] {
            until_at(&tenure, name, newest).await?;
        }
        with.push(lane.round(CALLERS, WINDOW).await?);
        let newest = tenure.log().newest().await?;
        for name in ["nothing", "table"] {
            until_at(&tenure, name, newest).await?;
        }
        for running in running {
            running.stop().await;
        }
    }
    tenure.close().await;
    let ratio = median(&with).commands_per_second / median(&without).commands_per_second;
    Ok(line("writers_with_two_subscribers", ratio, "of those without", ">= 0.9"))
}

async fn start_two(tenure: &Tenure) -> anyhow::Result<Vec<Running>> {
    let nothing = Subscription::new("nothing", 1)?.starting_at(Start::Newest).checkpoint_every(1_000);
    let table = Subscription::new("table", 1)?.starting_at(Start::Newest);
    Ok(vec![
        nothing.start_effects(tenure, Nothing::default()).await?,
        table.start_transactional(tenure, Table).await?,
    ])
}
