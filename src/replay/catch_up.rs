//! Applies the events that were stored since a rebuild began to the fresh tables.

use std::time::Duration;

use tokio::time::sleep;
use tokio_postgres::Client;

use super::error::ReplayError;
use super::fold::{Folder, Keys};
use super::fresh::Fresh;
use super::log_reader::read_range;
use crate::clock::{Clock, Stopwatch, Timestamp};
use crate::postgres::Connection;
use std::sync::Arc;

/// How many events are applied in one statement.
const STEP: i64 = 1_000;

/// As long as the fresh tables are not further behind than this, commits go first.
const YIELD_UNTIL: f64 = 60.0;

/// How many events may be left for the swap, which applies them under the head lock.
const LEFT: i64 = 100;

/// How many rounds may pass before the swap is tried with more events left: under a constant load some are always.
const ROUNDS: u32 = 200;

/// Where the fresh tables stand.
pub(super) struct CatchUp {
    events: Arc<Connection>,
    folder: Folder,
    clock: Arc<dyn Clock>,
    keys: Keys,
    position: i64,
    recorded_at: Option<Timestamp>,
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
        Self { events, folder, clock, keys, position, recorded_at: None }
    }

    /// The position up to which the fresh tables are made.
    pub(super) const fn position(&self) -> i64 {
        self.position
    }

    /// Where it stands, for [`CatchUp::back_to`].
    pub(super) const fn place(&self) -> i64 {
        self.position
    }

    /// Goes back, after a transaction was rolled back.
    pub(super) fn back_to(&mut self, place: i64) {
        self.position = place;
    }

    /// What is known of data keys.
    pub(super) const fn keys(&self) -> &Keys {
        &self.keys
    }

    /// Applies events until few are left.
    pub(super) async fn nearly(&mut self, client: &Client, fresh: &Fresh) -> Result<(), ReplayError> {
        for _ in 0..ROUNDS {
            let head = head(client).await?;
            if head - self.position <= LEFT {
                return Ok(());
            }
            while self.position < head {
                let step = Stopwatch::start();
                self.step(client, fresh, head).await?;
                let behind = self.recorded_at.map_or(0.0, |at| self.clock.now().seconds_since(at));
                if behind < YIELD_UNTIL && head - self.position > LEFT {
                    // As long again for commits.
                    sleep(step.elapsed().min(Duration::from_millis(100))).await;
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
        let events = read_range(&self.events, self.position, upto).await?;
        let (effects, keys) = self.folder.effects(&events).await?;
        fresh.apply(client, effects).await?;
        self.keys.extend(keys);
        self.position = upto;
        self.recorded_at = events.last().map(|event| event.recorded_at);
        Ok(())
    }
}

async fn head(client: &Client) -> Result<i64, ReplayError> {
    let sql = "select coalesce((select position from log.event order by position desc limit 1), 0)";
    Ok(client.query_one(sql, &[]).await?.try_get(0)?)
}
