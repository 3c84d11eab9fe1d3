//! The background tasks of an open engine: following the log, sweeping, clearing away.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;

use super::Tenure;
use crate::clock::Timestamp;
use crate::event_log::follow::Follower;
use crate::event_log::{EventHeader, ReadError};
use crate::ids::LogId;

/// After how many sweeps one begins from the start again.
const SWEEPS_FROM_THE_START: u64 = 60;

/// How often the requests that are over are removed.
const SWEEP_EVERY: Duration = Duration::from_mins(1);

/// How many endings that have left something behind are counted at most.
const COUNTED_ENDINGS: i64 = 1_000;

/// For how long a node says that it is the one that clears away.
const CLEAR_LEASE: Duration = Duration::from_secs(10);

/// How often the memory of a node takes in what others have committed, at most.
const OBSERVE_EVERY: Duration = Duration::from_millis(10);

impl Tenure {
    /// What runs beside the callers; waits out a database that cannot be reached, and begins anew when positions get
    /// another epoch. Ends only when the log can no longer be trusted.
    pub(super) async fn run(&self, clear_every: Duration) {
        let running = async {
            tokio::select! {
                error = self.follow() => error,
                never = self.sweep() => match never {},
                never = self.keep_clearing(clear_every) => match never {},
            }
        };
        // Nobody waits for this task: whoever serves learns of its end from what it leaves.
        let ended = AssertUnwindSafe(running).catch_unwind().await;
        let error =
            ended.unwrap_or_else(|_| ReadError::Unavailable("what follows the log has failed".into()));
        tracing::error!(%error, "the log can no longer be trusted");
        self.parts.broken.send_replace(Some(Arc::new(error)));
    }

    /// Removes what is over and kept by nothing else, in small steps, for ever.
    async fn sweep(&self) -> std::convert::Infallible {
        let mut from = Timestamp::default();
        let mut round = 0_u64;
        loop {
            tokio::time::sleep(SWEEP_EVERY).await;
            // Now and then from the start: some were locked when they were passed, or came back with a backup.
            if round.is_multiple_of(SWEEPS_FROM_THE_START) {
                from = Timestamp::default();
            }
            round += 1;
            loop {
                match self.parts.log.sweep_requests(from, self.parts.clock.now()).await {
                    Ok((reached, more)) => {
                        from = reached;
                        if !more {
                            break;
                        }
                    }
                    Err(error) => {
                        tracing::debug!(%error, "requests that are over could not be removed");
                        break;
                    }
                }
            }
        }
    }

    /// Clears away what endings have left behind, for ever, while this node is the one that does so.
    async fn keep_clearing(&self, every: Duration) -> std::convert::Infallible {
        let node = self.new_id(LogId::new).as_uuid();
        let left = metrics::gauge!("tenure_endings_to_clear");
        loop {
            tokio::time::sleep(every).await;
            match self.reader().endings(COUNTED_ENDINGS).await {
                Ok(endings) if endings.is_empty() => {
                    left.set(0);
                    continue;
                }
                Ok(endings) => left.set(u32::try_from(endings.len()).unwrap_or(u32::MAX)),
                Err(error) => {
                    tracing::debug!(%error, "endings could not be looked for");
                    continue;
                }
            }
            match self.coarse().clears_away(node, CLEAR_LEASE).await {
                Ok(true) => {}
                Ok(false) => continue,
                Err(error) => {
                    tracing::debug!(%error, "who clears away could not be settled");
                    continue;
                }
            }
            let clearing = self.clear_away();
            tokio::pin!(clearing);
            let ended = loop {
                tokio::select! {
                    ended = &mut clearing => break ended,
                    () = tokio::time::sleep(CLEAR_LEASE / 2) => {
                        if let Err(error) = self.coarse().clears_away(node, CLEAR_LEASE).await {
                            tracing::debug!(%error, "the lease to clear away could not be renewed");
                        }
                    }
                }
            };
            match ended {
                Ok(endings) => {
                    left.set(0);
                    tracing::info!(endings, "what had ended is cleared away");
                }
                Err(error) => {
                    tracing::warn!(%error, "what has ended could not be cleared away; it is tried again");
                }
            }
        }
    }

    async fn follow(&self) -> ReadError {
        let lag = metrics::gauge!("tenure_follower_lag_events");
        let mut follower: Option<Follower<EventHeader>> = None;
        let mut owes_forgettings = false;
        loop {
            if owes_forgettings {
                // Events that the log has lost may have forgotten people.
                match self.repeat_forgettings().await {
                    Ok(_) => owes_forgettings = false,
                    Err(error) => {
                        tracing::warn!(%error, "the list of the forgotten is not yet brought together with the log");
                    }
                }
            }
            let step = async {
                let follower = match &mut follower {
                    Some(follower) => follower,
                    // From what was read when the node opened, so that nothing between is missed.
                    None => follower.insert(self.parts.log.follow_headers()),
                };
                for event in follower.next().await? {
                    self.parts.dispatcher.observe(&event);
                    if event.event_type == "user.forgotten"
                        && let Ok(user) = event.stream.id.parse()
                    {
                        // Also of what other nodes forget.
                        self.list_as_forgotten(user).await;
                    }
                }
                Ok::<_, ReadError>(follower.behind())
            };
            match step.await {
                #[allow(clippy::cast_precision_loss)]
                Ok(behind) => {
                    lag.set(behind as f64);
                    // Memory may be a moment late, so commits that come one by one are taken in together.
                    tokio::time::sleep(OBSERVE_EVERY).await;
                }
                Err(error @ ReadError::Unavailable(_)) => {
                    tracing::warn!(%error, "the follower waits for the database");
                    tokio::time::sleep(Duration::from_millis(500)).await;
                }
                Err(error @ ReadError::LogReplaced { .. }) => {
                    tracing::warn!(%error, "the follower begins anew");
                    follower = None;
                    owes_forgettings = true;
                }
                Err(error) => return error,
            }
        }
    }
}
