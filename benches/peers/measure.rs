//! A closed loop: so many callers, each with one command in flight, for a while.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use tenure::clock::Stopwatch;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::workload::{Person, Request, World};

/// A store of identities that carries out commands durably.
pub trait Contestant: Send + Sync + 'static {
    /// The name in the report.
    const NAME: &'static str;
    /// What callers work with.
    type Session: Session;

    /// Connects for so many callers.
    fn open(&self, callers: usize) -> impl Future<Output = anyhow::Result<Self::Session>> + Send;
}

/// A contestant, connected.
pub trait Session: Send + Sync + 'static {
    /// Carries out a request; returns the identifier of what it created.
    fn carry_out(&self, request: &Request) -> impl Future<Output = anyhow::Result<Uuid>> + Send;

    /// Disconnects; says if anything went wrong unseen.
    fn close(self) -> impl Future<Output = anyhow::Result<()>> + Send;
}

/// How long callers run before it counts, and then how long it counts.
#[derive(Clone, Copy)]
pub struct Window {
    pub warm_up: Duration,
    pub counted: Duration,
}

/// What one round has shown.
#[derive(Clone, Copy)]
pub struct Sample {
    pub commands_per_second: f64,
    pub p50_ms: f64,
    pub p99_ms: f64,
}

/// The median of each figure over the rounds.
pub fn median(samples: &[Sample]) -> Sample {
    let of = |figure: fn(&Sample) -> f64| {
        let mut figures: Vec<f64> = samples.iter().map(figure).collect();
        figures.sort_by(f64::total_cmp);
        let middle = figures.len() / 2;
        if figures.len() % 2 == 1 {
            figures[middle]
        } else {
            f64::midpoint(figures[middle - 1], figures[middle])
        }
    };
    Sample {
        commands_per_second: of(|sample| sample.commands_per_second),
        p50_ms: of(|sample| sample.p50_ms),
        p99_ms: of(|sample| sample.p99_ms),
    }
}

/// A contestant with the callers that it has had so far.
pub struct Lane<C> {
    contestant: C,
    worlds: Vec<Option<World>>,
}

/// Lanes of different contestants, side by side.
pub trait AnyLane: Send {
    /// The name of the contestant.
    fn name(&self) -> &'static str;

    /// Runs one round with so many callers.
    fn round(&mut self, callers: usize, window: Window) -> BoxFuture<'_, anyhow::Result<Sample>>;
}

impl<C: Contestant> Lane<C> {
    /// With at most so many callers, who know these people.
    pub fn new(contestant: C, callers: usize, elders: &[Person]) -> Self {
        let worlds = (0..callers).map(|number| Some(World::new(number, elders.to_vec()))).collect();
        Self { contestant, worlds }
    }

    async fn one_round(&mut self, callers: usize, window: Window) -> anyhow::Result<Sample> {
        let session = Arc::new(self.contestant.open(callers).await?);
        let end = window.warm_up + window.counted;
        let watch = Stopwatch::start();
        let mut running = JoinSet::new();
        for (number, place) in self.worlds.iter_mut().take(callers).enumerate() {
            let session = session.clone();
            let mut world = place.take().ok_or_else(|| anyhow::anyhow!("a caller is missing"))?;
            running.spawn(async move {
                let mut latencies = Vec::with_capacity(8_192);
                loop {
                    let begun = watch.elapsed();
                    if begun >= end {
                        return anyhow::Ok((number, world, latencies));
                    }
                    let request = world.request();
                    let id = session.carry_out(&request).await?;
                    world.carried_out(&request, id);
                    let done = watch.elapsed();
                    if done >= window.warm_up && done < end {
                        latencies.push(done.saturating_sub(begun));
                    }
                }
            });
        }
        let mut latencies = Vec::new();
        while let Some(finished) = running.join_next().await {
            let (number, world, some) = finished??;
            self.worlds[number] = Some(world);
            latencies.extend(some);
        }
        let session = Arc::into_inner(session).ok_or_else(|| anyhow::anyhow!("a caller is still at work"))?;
        session.close().await?;
        latencies.sort_unstable();
        anyhow::ensure!(!latencies.is_empty(), "{} carried out no command in time", C::NAME);
        let at = |percent: usize| latencies[(latencies.len() - 1) * percent / 100].as_secs_f64() * 1_000.0;
        #[allow(clippy::cast_precision_loss)]
        let commands_per_second = latencies.len() as f64 / window.counted.as_secs_f64();
        Ok(Sample { commands_per_second, p50_ms: at(50), p99_ms: at(99) })
    }
}

impl<C: Contestant> AnyLane for Lane<C> {
    fn name(&self) -> &'static str {
        C::NAME
    }

    fn round(&mut self, callers: usize, window: Window) -> BoxFuture<'_, anyhow::Result<Sample>> {
        self.one_round(callers, window).boxed()
    }
}
