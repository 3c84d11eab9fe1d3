//! Generates a deterministic log of the whole domain for measurements: a realistic mix, encoded as every command's events
//! are.

mod error;
mod group;

pub use error::SeedError;

use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use crate::Tenure;
use crate::clock::Timestamp;
use crate::codec::{Codec, Decided};
use crate::context::{Actor, Context};
use crate::entropy::SeededEntropy;
use crate::event_log::{BulkBatch, EventLog, Unit};
use group::Group;

/// The approximate number of events per transaction, and of those in the first one: PostgreSQL has nothing to do until that is encoded.
const CHUNK: u64 = 40_000;
const FIRST_CHUNK: u64 = 5_000;

/// About how many events a group has.
const EVENTS_A_GROUP: u64 = 70;

/// Over how long the generated commands came.
const SPAN: Duration = Duration::from_hours(240);

/// What has been generated so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seeded {
    /// The number of events.
    pub events: u64,
    /// The number of users.
    pub users: u64,
    /// The number of accounts.
    pub accounts: u64,
    /// The newest position of the log.
    pub position: i64,
}

/// Appends at least `events` events to the log, and calls `progress` with the number so far after each chunk.
///
/// The data depends only on the seed, the log's newest position and the clock.
///
/// # Errors
/// [`SeedError`] as its variants say. Chunks already reported stay in the log.
pub async fn generate(
    tenure: &Tenure,
    events: u64,
    seed: u64,
    progress: impl Fn(u64),
) -> Result<Seeded, SeedError> {
    let from = tenure.log().newest().await?;
    let mut writer = tenure.log().bulk_writer().await?;
    // Capacity 1: the next chunk is encoded while this one is written, and memory stays bounded.
    let (made_chunks, mut chunks) = mpsc::channel::<(BulkBatch, Seeded)>(1);
    let maker = Maker::new(tenure, seed, from);
    let making = tokio::spawn(maker.make(events, made_chunks));
    let mut seeded = Seeded { position: from, ..Seeded::default() };
    let clock = tenure.clock();
    let mut analysing = None;
    // Why the maker ended early is its own result, below.
    while let Some((batch, so_far)) = chunks.recv().await {
        let position = writer.append(batch, &*clock).await?;
        seeded = Seeded { position, ..so_far };
        progress(seeded.events);
        // Beside the last chunks: what is in the tables by now says enough about them, and soon there is less to encode.
        if seeded.events >= events / 4 * 3 && analysing.is_none() {
            let log = tenure.log().clone();
            analysing = Some(AbortOnDropHandle::new(tokio::spawn(async move { log.analyse().await })));
        }
    }
    making.await.map_err(|_| SeedError::Failed)??;
    if let Some(analysing) = analysing {
        // If it panicked, statistics are left to autovacuum.
        let _ = analysing.await;
    }
    Ok(seeded)
}

/// Encodes chunks of units.
struct Maker {
    log: EventLog,
    codec: Codec,
    entropy: SeededEntropy,
    at: Timestamp,
    prefix: String,
    metadata: Bytes,
}

impl Maker {
    fn new(tenure: &Tenure, seed: u64, from: i64) -> Self {
        // Mixed with the position, so that a second run with the same seed makes other identifiers.
        let mixed = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ from.unsigned_abs();
        Self {
            log: tenure.log().clone(),
            codec: tenure.codec().clone(),
            entropy: SeededEntropy::new(mixed),
            at: tenure.clock().now(),
            prefix: format!("s{from:x}-"),
            metadata: Bytes::from(Context::of(Actor::System).metadata()),
        }
    }

    async fn make(self, events: u64, chunks: mpsc::Sender<(BulkBatch, Seeded)>) -> Result<(), SeedError> {
        let mut seeded = Seeded::default();
        let mut number = 0;
        while seeded.events < events {
            let mut units = Vec::new();
            let begin = seeded.events;
            let chunk = if begin == 0 { FIRST_CHUNK } else { CHUNK };
            while seeded.events < events && seeded.events - begin < chunk {
                let group =
                    Group::new(&self.entropy, self.time_of(number, events), &self.prefix, number).make()?;
                seeded.events += group.decided.len() as u64;
                seeded.users += group.users;
                seeded.accounts += group.accounts;
                units.push(self.unit(group.decided).await?);
                number += 1;
            }
            // The receiver is dropped when writing fails; `generate` has returned that error.
            if chunks.send((BulkBatch::of(&units)?, seeded)).await.is_err() {
                break;
            }
        }
        Ok(())
    }

    /// When the group's commands came: one group after the other, over the last ten days. Identifiers begin with the time, so
    /// that they are in the order of time here as in a real log.
    fn time_of(&self, number: u64, events: u64) -> Timestamp {
        let groups = (events / EVENTS_A_GROUP).max(1);
        let before = SPAN.as_micros() * u128::from(groups.saturating_sub(number)) / u128::from(groups);
        Timestamp::from_micros(self.at.as_micros() - i64::try_from(before).unwrap_or(0))
    }

    /// One unit, so that later events find the data keys that earlier ones begin.
    async fn unit(&self, mut decided: Vec<Decided>) -> Result<Unit, SeedError> {
        let mut unit = Unit { at: self.at, ..Unit::default() };
        self.codec.encode(&mut unit, &mut decided, &self.metadata, self.log.primary()).await?;
        Ok(unit)
    }
}
