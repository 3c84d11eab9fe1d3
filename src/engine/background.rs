//! The background tasks of an open engine: the follower, the sweeper, and clearing away what ended aggregates left
//! behind.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use tokio_util::task::AbortOnDropHandle;

use super::{Observed, Tenure};
use crate::clock::{Stopwatch, Timestamp};
use crate::event_log::follow::Follower;
use crate::event_log::{EventHeader, ReadError};
use crate::replay::{LOGGED, Progress};
use crate::subscribers::lag;

/// One sweep in this many starts at the oldest idempotency record again.
const SWEEPS_FROM_THE_START: u64 = 60;

/// How long a schema that a rebuild has left may stay before the log output says so, again and again.
const SAY_THAT_IT_STAYS: Duration = Duration::from_mins(10);

/// The longest time after a start at which the first comparison begins.
const FIRST_AUDIT_WITHIN: Duration = Duration::from_mins(5);

/// When the sweeper first looks.
const FIRST_SWEEP: Duration = Duration::from_secs(5);

/// How often expired idempotency records are removed.
const SWEEP_EVERY: Duration = Duration::from_mins(1);

/// How often the master keys of the log are looked at.
const KEY_RING_EVERY: Duration = Duration::from_secs(1);

/// The events after which a schema with tables as they were may have to go.
const FORGETS: &[&str] = &["user.forgotten", "account.closed"];

/// How often schemas with tables as they were are looked at.
const SWEEP_AS_OF_EVERY: Duration = Duration::from_secs(10);

/// The limit of the query for endings that wait to be cleared away; the gauge never shows more.
const COUNTED_ENDINGS: i64 = 1_000;

/// How long a node's lease to clear away lasts. It is renewed at half of this.
const CLEAR_LEASE: Duration = Duration::from_secs(10);

/// The minimum pause between two reads of the follower that invalidates this node's caches.
const OBSERVE_EVERY: Duration = Duration::from_millis(10);

/// After how many failures in a row a sweep is worth a warning.
const WORTH_A_WARNING: u32 = 3;

impl Tenure {
    /// Runs the background tasks. Waits while the database is unreachable, and restarts the follower when positions get
    /// a new epoch. Returns only when the log can no longer be trusted.
    pub(super) async fn run(&self, clear_every: Duration, follower: Follower<EventHeader>) {
        let running = async {
            tokio::select! {
                error = self.follow(follower) => error,
                never = self.sweep() => match never {},
                never = self.sweep_as_of_schemas() => match never {},
                never = self.keep_key_ring() => match never {},
                never = self.keep_clearing(clear_every) => match never {},
                never = self.parts.log.take_part(self.parts.node) => match never {},
                never = self.keep_auditing() => match never {},
                never = lag::keep_measuring(&self.parts.log) => match never {},
                never = self.parts.log.keep_planning() => match never {},
            }
        };
        // No caller awaits this task, so a panic would go unnoticed: it is reported through `broken`, as any other end
        // is.
        let ended = Box::pin(AssertUnwindSafe(running).catch_unwind()).await;
        let error = ended
            .unwrap_or_else(|_| ReadError::Unavailable("a background task of the engine panicked".into()));
        tracing::error!(%error, "the log can no longer be trusted");
        self.parts.broken.send_replace(Some(Arc::new(error)));
    }

    /// The sweeper: removes expired idempotency records in small steps, and schemas that rebuilds have left, for ever.
    async fn sweep(&self) -> std::convert::Infallible {
        let mut from = Timestamp::default();
        let mut round = 0_u64;
        let mut said: HashMap<String, Stopwatch> = HashMap::new();
        // Soon after the start: the lock of a rebuild that was killed before it can last a little longer than its process.
        let mut pause = FIRST_SWEEP;
        loop {
            tokio::time::sleep(std::mem::replace(&mut pause, SWEEP_EVERY)).await;
            // Start over from time to time: records that were locked were skipped, and a restored backup brings old
            // ones back.
            if round.is_multiple_of(SWEEPS_FROM_THE_START) {
                from = Timestamp::default();
            }
            round += 1;
            match self.parts.log.drop_leftover_schemas().await {
                Ok(stays) => {
                    said.retain(|schema, _| stays.iter().any(|(stays, _)| stays == schema));
                    for (schema, reason) in stays {
                        let since = said.entry(schema.clone()).or_insert_with(Stopwatch::start);
                        // A dump may read it for a while. Otherwise it keeps what is forgotten from now on.
                        if since.elapsed() >= SAY_THAT_IT_STAYS {
                            tracing::warn!(
                                schema,
                                reason,
                                "a schema that a rebuild has left cannot be dropped"
                            );
                            *since = Stopwatch::start();
                        }
                    }
                }
                Err(error) => tracing::debug!(%error, "could not look for schemas that rebuilds have left"),
            }
            loop {
                match self.parts.log.sweep_requests(from, self.parts.clock.now()).await {
                    Ok((reached, more)) => {
                        from = reached;
                        if !more {
                            break;
                        }
                    }
                    Err(error) => {
                        tracing::debug!(%error, "expired idempotency records could not be removed; retrying later");
                        break;
                    }
                }
            }
        }
    }

    /// Takes a new master key of the log over when one is announced, for ever.
    async fn keep_key_ring(&self) -> std::convert::Infallible {
        let mut lacked = None;
        loop {
            match self.follow_key_ring().await {
                Ok(lacks) => {
                    let current = lacks.as_ref().filter(|lacking| lacking.is_current);
                    self.parts.lacks_key.send_replace(current.map(|lacking| lacking.key.clone()));
                    if let Some(lacking) = lacks.as_ref().filter(|_| lacks != lacked) {
                        let file = self.parts.codec.keys().source().file_of_next().display().to_string();
                        tracing::warn!(
                            key = lacking.key,
                            file,
                            reason = lacking.reason,
                            "the log is changing its master key, and this node lacks the new one"
                        );
                    }
                    lacked = lacks;
                }
                Err(error) => tracing::debug!(%error, "the master keys of the log could not be looked at"),
            }
            tokio::time::sleep(KEY_RING_EVERY).await;
        }
    }

    /// Drops schemas with tables as they were once they expire, or hold what was forgotten since, for ever.
    async fn sweep_as_of_schemas(&self) -> std::convert::Infallible {
        let mut failures = 0_u32;
        loop {
            // Soon after something was forgotten, and again and again while somebody reads what has to go.
            let _ = tokio::time::timeout(SWEEP_AS_OF_EVERY, self.parts.forgotten.notified()).await;
            match self.parts.log.sweep_as_of_schemas().await {
                Ok(stays) => {
                    failures = 0;
                    for (schema, reason) in stays {
                        tracing::warn!(schema, reason, "a schema has to go, but is still being read");
                    }
                }
                Err(error) => {
                    failures += 1;
                    // They may hold what was forgotten: somebody should know.
                    if failures >= WORTH_A_WARNING {
                        tracing::warn!(%error, "could not look at schemas with tables as they were");
                    }
                }
            }
        }
    }

    /// Compares the projections with the log, for ever, if the settings say how often.
    async fn keep_auditing(&self) -> std::convert::Infallible {
        let Some(every) = self.parts.audit_every else { return std::future::pending().await };
        // Soon after the start, so that a node that is often started anew compares too, and not all nodes at once.
        let [.., share] = self.parts.node.into_bytes();
        tokio::time::sleep(every.min(FIRST_AUDIT_WITHIN) * u32::from(share) / 256).await;
        loop {
            let tenure = self.clone();
            // A task of its own: the node does more important things meanwhile, and goes on if this panics.
            let comparing = tokio::spawn(async move { tenure.audit().await });
            let is_done = AbortOnDropHandle::new(comparing).await.unwrap_or_else(|_| {
                failed("the comparison panicked");
                false
            });
            // What has failed because PostgreSQL was being restarted, for example, is not put off for a day.
            tokio::time::sleep(if is_done { every } else { every.min(FIRST_AUDIT_WITHIN) }).await;
        }
    }

    /// Compares the projections with the log once, for metrics and the log output. `false` if that failed.
    async fn audit(&self) -> bool {
        let diff = match self.replay().diff(None, &Progress::none()).await {
            Ok(diff) => diff,
            Err(error) => {
                failed(&error.to_string());
                return false;
            }
        };
        let found = &diff.differences;
        #[allow(clippy::cast_precision_loss)]
        metrics::gauge!("tenure_projection_differences").set(found.count as f64);
        let now = self.parts.clock.now().seconds_since(Timestamp::default());
        metrics::gauge!("tenure_projection_audit_timestamp_seconds").set(now);
        if found.count == 0 {
            let (position, rows) = (diff.position, found.rows);
            tracing::info!(position, rows, "the projections are as the log says");
            return true;
        }
        for difference in found.first.iter().take(LOGGED) {
            tracing::error!("the projections differ from what the log says: {difference}");
        }
        tracing::error!(
            count = found.count,
            position = diff.position,
            "the projections differ from what the log says; `tenure audit diff` shows all rows"
        );
        true
    }

    /// Clears away what endings have left behind, for ever, but only while this node holds the lease.
    async fn keep_clearing(&self, every: Duration) -> std::convert::Infallible {
        let node = self.parts.node;
        let left = metrics::gauge!("tenure_endings_to_clear");
        loop {
            tokio::time::sleep(every).await;
            // Read before the lease is taken: while there is nothing to clear, no node writes.
            match self.reader().endings(COUNTED_ENDINGS).await {
                Ok(endings) if endings.is_empty() => {
                    left.set(0);
                    continue;
                }
                Ok(endings) => left.set(u32::try_from(endings.len()).unwrap_or(u32::MAX)),
                Err(error) => {
                    tracing::debug!(%error, "could not look for endings to clear away; retrying later");
                    continue;
                }
            }
            match self.coarse().clears_away(node, CLEAR_LEASE).await {
                Ok(true) => {}
                Ok(false) => continue,
                Err(error) => {
                    tracing::debug!(%error, "could not take the lease to clear away; retrying later");
                    continue;
                }
            }
            let clearing = self.clear_away();
            tokio::pin!(clearing);
            // Renewed while the work runs: clearing many rows can take longer than one lease.
            let ended = loop {
                tokio::select! {
                    ended = &mut clearing => break ended,
                    () = tokio::time::sleep(CLEAR_LEASE / 2) => {
                        if let Err(error) = self.coarse().clears_away(node, CLEAR_LEASE).await {
                            tracing::debug!(%error, "could not renew the lease to clear away");
                        }
                    }
                }
            };
            match ended {
                Ok(endings) => {
                    left.set(0);
                    tracing::info!(endings, "cleared away what endings left behind");
                }
                Err(error) => {
                    tracing::warn!(%error, "could not clear away what endings left behind; retrying later");
                }
            }
        }
    }

    /// Follows the log to invalidate caches and to extend the list of forgotten users. Returns only on an error that
    /// retrying does not fix.
    async fn follow(&self, mut follower: Follower<EventHeader>) -> ReadError {
        let lag = metrics::gauge!("tenure_follower_lag_events");
        let mut owes_forgettings = false;
        loop {
            if owes_forgettings {
                // The log may have lost events that forgot users; the list outside the database still has these users.
                match self.repeat_forgettings().await {
                    Ok(_) => owes_forgettings = false,
                    Err(error) => {
                        tracing::warn!(%error, "could not yet apply the list of forgotten users to the log; retrying");
                    }
                }
            }
            let step = async {
                let events: Arc<[EventHeader]> = follower.next().await?.into();
                for event in &*events {
                    self.parts.dispatcher.observe(event);
                }
                // Nobody may be listening.
                let _ = self.parts.observed.send(Observed::Events(events.clone()));
                if events.iter().any(|event| FORGETS.contains(&&*event.event_type)) {
                    self.parts.forgotten.notify_one();
                }
                for event in events.iter().filter(|event| event.event_type == "user.forgotten") {
                    if let Ok(user) = event.stream.id.parse() {
                        // The event may come from another node, which does not write this node's list.
                        self.list_as_forgotten(user).await;
                    }
                }
                Ok::<_, ReadError>(follower.behind())
            };
            match step.await {
                #[allow(clippy::cast_precision_loss)]
                Ok(behind) => {
                    lag.set(behind as f64);
                    // Caches may be slightly stale, so commits that arrive one by one are read together.
                    tokio::time::sleep(OBSERVE_EVERY).await;
                }
                Err(error @ ReadError::Unavailable(_)) => {
                    tracing::warn!(%error, "the follower cannot read the log; retrying");
                    tokio::time::sleep(Duration::from_millis(500)).await;
                }
                Err(error @ ReadError::LogReplaced { .. }) => {
                    tracing::warn!(%error, "positions have a new epoch; the follower restarts");
                    // In a new epoch no cache is trusted: data keys are cleared, states of another epoch are ignored, and what
                    // is remembered of claims is only a hint. So there is nothing to catch up with. But it begins before the list
                    // of forgotten users is compared with the log, which says nothing of who is forgotten after it.
                    follower = self.parts.log.follow_headers();
                    owes_forgettings = true;
                    let _ = self.parts.observed.send(Observed::NewEpoch);
                }
                Err(error) => return error,
            }
        }
    }
}

/// Notes that the projections could not be compared with the log.
fn failed(reason: &str) {
    metrics::counter!("tenure_projection_audit_failures_total").increment(1);
    tracing::warn!(reason, "the projections could not be compared with the log");
}
