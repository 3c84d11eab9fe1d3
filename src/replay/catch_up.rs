//! Applies the events that were stored since a rebuild began to the fresh tables.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use tokio_postgres::Client;

use super::error::ReplayError;
use super::fold::{Folder, Keys};
use super::fresh::Fresh;
use super::log_reader::Events;
use crate::clock::{Clock, Stopwatch, Timestamp};
use crate::postgres::Connection;

/// How many events are applied in one statement.
const STEP: i64 = 1_000;

/// As long as the fresh tables are not further behind than this, commits go first.
const YIELD_UNTIL: f64 = 60.0;

/// How long applying what is left may take in the swap, under the head lock.
const UNDER_LOCK: Duration = Duration::from_millis(50);

/// After so many rounds commits no longer go first, and after twice as many the swap is tried whatever is left: under a
/// heavy load something always is.
const ROUNDS: u32 = 20;

/// How long an event is expected to take before one was applied.
const FIRST_GUESS: Duration = Duration::from_millis(1);

/// Where the fresh tables stand.
pub(super) struct CatchUp {
    events: Arc<Connection>,
    folder: Folder,
    clock: Arc<dyn Clock>,
    keys: Keys,
    position: i64,
    recorded_at: Option<Timestamp>,
    /// How long one event took in the last step.
    per_event: Duration,
}

impl CatchUp {
    /// The fresh tables have everything up to this position.
    pub(super) fn new(
        events: Arc<Connection>,
        folder: Folder,
        clock: Arc<dyn Clock>,
        keys: Keys,
        position: i64,
    ) -> Self {
        Self { events, folder, clock, keys, position, recorded_at: None, per_event: FIRST_GUESS }
    }

    /// The position up to which the fresh tables are made.
    pub(super) const fn position(&self) -> i64 {
        self.position
    }

    /// Goes back to an earlier position, after a transaction was rolled back.
    pub(super) fn back_to(&mut self, position: i64) {
        self.position = position;
    }

    /// What is known of data keys.
    pub(super) const fn keys(&self) -> &Keys {
        &self.keys
    }

    /// Applies events until what is left takes only a moment.
    pub(super) async fn nearly(&mut self, client: &Client, fresh: &Fresh) -> Result<(), ReplayError> {
        for round in 0..2 * ROUNDS {
            let head = head(client).await?;
            let left = u32::try_from(head - self.position).unwrap_or(u32::MAX);
            if self.per_event.saturating_mul(left) <= UNDER_LOCK {
                return Ok(());
            }
            while self.position < head {
                let (step, before) = (Stopwatch::start(), self.position);
                self.step(client, fresh, head).await?;
                let took = step.elapsed();
                self.per_event = took / u32::try_from(self.position - before).unwrap_or(1).max(1);
                let behind = self.recorded_at.map_or(0.0, |at| self.clock.now().seconds_since(at));
                if round < ROUNDS && behind < YIELD_UNTIL {
                    // Half as long again for commits.
                    sleep((took / 2).min(Duration::from_millis(50))).await;
                }
            }
        }
        Ok(())
    }

    /// Applies all events, in a transaction that holds the head lock.
    pub(super) async fn rest(&mut self, client: &Client, fresh: &Fresh) -> Result<(), ReplayError> {
        let head = head(client).await?;
        while self.position < head {
            self.step(client, fresh, head).await?;
        }
        Ok(())
    }

    async fn step(&mut self, client: &Client, fresh: &Fresh, head: i64) -> Result<(), ReplayError> {
        let upto = (self.position + STEP).min(head);
        let mut range = Events::of_range(&self.events, self.position, upto).await?;
        while let Some(events) = range.next().await? {
            let (effects, keys) = self.folder.effects(&events).await?;
            fresh.apply(client, effects).await?;
            // Their names were readable when the log was read, and the events that give them up are not.
            fresh.release(client, keys.untold_claims()).await?;
            self.keys.extend(keys);
            let last = events.last();
            self.position = last.map_or(upto, |event| event.position);
            self.recorded_at = last.map(|event| event.recorded_at);
        }
        Ok(())
    }
}

async fn head(client: &Client) -> Result<i64, ReplayError> {
    let sql = "select coalesce((select position from log.event order by position desc limit 1), 0)";
    Ok(client.query_one(sql, &[]).await?.try_get(0)?)
}
