//! The subscriber: keeps this process's leases, starts a worker for each slice that it holds, and says how things are.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use super::handler::Work;
use super::store::{Held, Kept, Store, signed};
use super::subscription::Subscription;
use super::worker::{End, Orders, Shared, Worker};
use crate::event_log::{EventLog, ReadError};

/// How many times the leases are renewed while one lasts.
const RENEWALS: u32 = 4;

/// The longest pause between two renewals, so that the acts of operators are noticed soon.
const LONGEST_RENEWAL: Duration = Duration::from_secs(2);

/// How long a subscriber that stops waits for the database.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(2);

/// What a subscriber is doing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Status {
    /// It handles the events of these slices. Other processes may have the others.
    Running {
        /// The slices that this process holds.
        slices: Vec<u32>,
    },
    /// An operator has paused the subscription.
    Paused,
    /// It cannot go on until an operator has acted.
    Blocked {
        /// What stands in the way, and what to do.
        reason: String,
    },
    /// The database is not available; it goes on when it is.
    Unavailable {
        /// What the last attempt failed with.
        reason: String,
    },
    /// It has stopped, for good.
    Ended(EndReason),
}

/// Why a subscriber has stopped.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum EndReason {
    /// It was told to, or the engine was closed.
    Stopped,
    /// A later version has taken over.
    Superseded {
        /// That version.
        version: i32,
    },
    /// A later release of Tenure has changed how subscriptions are stored.
    NewerRelease,
    /// An operator has removed the subscription.
    Removed,
    /// The subscriber itself has failed; this is a defect.
    Failed,
}

/// A subscription that this process takes part in. It stops when this is dropped; [`Running::stop`] waits for that.
#[derive(Debug)]
pub struct Running {
    status: watch::Receiver<Status>,
    stop: CancellationToken,
}

impl Running {
    /// What the subscriber is doing.
    #[must_use]
    pub fn status(&self) -> Status {
        self.status.borrow().clone()
    }

    /// Waits until the status has a property, and returns it. Returns the last status if the subscriber ends before.
    pub async fn until(&mut self, has: impl Fn(&Status) -> bool) -> Status {
        let wanted = |status: &Status| has(status) || matches!(status, Status::Ended(_));
        let found = self.status.wait_for(wanted).await.map(|status| status.clone());
        found.unwrap_or_else(|_| self.status())
    }

    /// Finishes the deliveries under way, stores the checkpoints, gives the slices back and ends.
    pub async fn stop(mut self) {
        self.stop.cancel();
        self.until(|_| false).await;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Starts to take part in a registered subscription.
pub(super) fn start(log: &EventLog, subscription: &Subscription, store: Store, work: Work) -> Running {
    let (status, watched) = watch::channel(Status::Running { slices: Vec::new() });
    let stop = log.closing().child_token();
    let name = subscription.name.clone();
    let shared = Shared {
        log: log.clone(),
        store,
        work,
        filter: subscription.definition.filter.clone(),
        slices: subscription.definition.slices,
        limits: subscription.limits,
        handled_events: metrics::counter!("tenure_subscription_handled_events_total", "subscription" => name.clone()),
        failures: metrics::counter!("tenure_subscription_failures_total", "subscription" => name),
    };
    let runner = Runner {
        shared: Arc::new(shared),
        version: subscription.version,
        status: status.clone(),
        stop: stop.clone(),
        workers: HashMap::new(),
        tasks: JoinSet::new(),
        changes: 0,
        blocked: None,
    };
    let running = log.tasks().spawn(runner.run());
    log.tasks().spawn(async move {
        let ended = running.await.unwrap_or(EndReason::Failed);
        status.send_replace(Status::Ended(ended));
    });
    Running { status: watched, stop }
}

struct Runner {
    shared: Arc<Shared>,
    version: u32,
    status: watch::Sender<Status>,
    stop: CancellationToken,
    /// The workers, with until when each holds its slice.
    workers: HashMap<Held, Assigned>,
    tasks: JoinSet<(Held, End)>,
    /// The number of operators' acts so far.
    changes: i64,
    /// Why the slices are not worked on, and the number of operators' acts and the epoch at that time.
    blocked: Option<(String, i64, i64)>,
}

struct Assigned {
    until: watch::Sender<Instant>,
    orders: watch::Sender<Orders>,
}

impl Runner {
    async fn run(mut self) -> EndReason {
        let lease = self.shared.limits.lease;
        let pause = (lease / RENEWALS).min(LONGEST_RENEWAL);
        let ended = loop {
            if self.stop.is_cancelled() {
                break EndReason::Stopped;
            }
            // Measured before the database is asked: the lease begins there later.
            let until = Instant::now() + lease;
            match self.shared.store.keep(lease, self.blocked.is_none()).await {
                Ok(Some(kept)) => {
                    if let Some(ended) = self.follow(&kept, until).await {
                        break ended;
                    }
                }
                Ok(None) => break EndReason::Removed,
                Err(error) => self.say_unavailable(&error),
            }
            let stop = self.stop.clone();
            tokio::select! {
                () = stop.cancelled() => {}
                () = sleep(pause) => {}
                Some(joined) = self.tasks.join_next() => {
                    if let Ok((held, end)) = joined {
                        self.worker_ended(held, end).await;
                    }
                }
            }
        };
        self.shut_down().await;
        ended
    }

    fn say_unavailable(&self, error: &ReadError) {
        tracing::warn!(subscription = &*self.shared.store.name, %error, "the leases could not be renewed; trying again");
        self.status.send_replace(Status::Unavailable { reason: error.to_string() });
    }

    /// Acts on what the last renewal found. Returns why the subscriber has to end, if it does.
    async fn follow(&mut self, kept: &Kept, until: Instant) -> Option<EndReason> {
        if !Store::knows(kept.format) {
            return Some(EndReason::NewerRelease);
        }
        if kept.version > signed(self.version) {
            return Some(EndReason::Superseded { version: kept.version });
        }
        let (stored, of_log) = kept.epochs;
        if stored != of_log {
            let reason = format!(
                "the log was restored or has lost events: its epoch is {of_log}, that of the checkpoints is {stored}; \
                 run `tenure subscriptions resume` to continue, or `rewind` to go back"
            );
            self.blocked = Some((reason, kept.changes, of_log));
        }
        let is_still_blocked =
            |(_, changes, epoch): &(String, i64, i64)| (*changes, *epoch) == (kept.changes, of_log);
        self.blocked = self.blocked.take().filter(is_still_blocked);
        self.assign(kept, until);
        self.changes = kept.changes;
        for assigned in self.workers.values() {
            assigned.orders.send_if_modified(|orders| {
                let is_new = orders.changes != kept.changes;
                orders.changes = kept.changes;
                is_new
            });
        }
        let status = if let Some((reason, ..)) = &self.blocked {
            Some(Status::Blocked { reason: reason.clone() })
        } else if kept.is_paused {
            Some(Status::Paused)
        } else {
            None
        };
        if let Some(status) = status {
            // The slices are given back, so that `tenure subscriptions show` tells that nobody works on them.
            self.stop_workers(self.workers.len());
            self.status.send_replace(status);
            return None;
        }
        self.balance(kept, until).await;
        let mut slices: Vec<u32> = self.workers.keys().map(|held| held.slice).collect();
        slices.sort_unstable();
        let running = Status::Running { slices };
        self.status.send_if_modified(|status| {
            let is_new = *status != running;
            *status = running;
            is_new
        });
        None
    }

    /// Extends the leases of the workers, and starts one for each slice that is held without one.
    fn assign(&mut self, kept: &Kept, until: Instant) {
        // A slice that is missing may only have been locked just now. If it is lost, its worker finds out: its lease ends, or
        // nothing that it stores is accepted.
        for held in &kept.held {
            if let Some(assigned) = self.workers.get(held) {
                assigned.until.send_replace(until);
            }
        }
        if self.blocked.is_none() && !kept.is_paused {
            for held in &kept.held {
                self.employ(*held, until, kept.changes);
            }
        }
    }

    /// Starts a worker for a slice, unless there is one.
    fn employ(&mut self, held: Held, until: Instant, changes: i64) {
        if self.workers.contains_key(&held) {
            return;
        }
        let (until, lease) = watch::channel(until);
        let (orders, told) = watch::channel(Orders { stops: false, changes });
        let worker = Worker::new(self.shared.clone(), held, lease, told);
        self.workers.insert(held, Assigned { until, orders });
        self.tasks.spawn(async move {
            if let Ok(end) = AssertUnwindSafe(worker.run()).catch_unwind().await {
                return (held, end);
            }
            // A defect that is always there must not be met in a tight loop.
            sleep(LONGEST_RENEWAL).await;
            (held, End::Failed)
        });
    }

    /// Gives slices back if this process holds more than its share, and takes over free ones if it holds less.
    async fn balance(&mut self, kept: &Kept, until: Instant) {
        let share = share(kept.slices, kept.subscribers, kept.rank) as usize;
        let mine = self.workers.len();
        if mine > share {
            self.stop_workers(mine - share);
            return;
        }
        let missing = u32::try_from(share - mine).unwrap_or(u32::MAX);
        if missing == 0 {
            return;
        }
        match self.shared.store.take(self.version, self.shared.limits.lease, missing).await {
            Ok(taken) => {
                for held in taken {
                    self.employ(held, until, kept.changes);
                }
            }
            Err(error) => self.say_unavailable(&error),
        }
    }

    /// Tells so many workers, those of the highest slices, to give their slices back.
    fn stop_workers(&self, count: usize) {
        let mut held: Vec<&Held> = self.workers.keys().collect();
        held.sort_unstable_by_key(|held| std::cmp::Reverse(held.slice));
        for held in held.into_iter().take(count) {
            if let Some(assigned) = self.workers.get(held) {
                assigned.orders.send_if_modified(|orders| !std::mem::replace(&mut orders.stops, true));
            }
        }
    }

    async fn worker_ended(&mut self, held: Held, end: End) {
        self.workers.remove(&held);
        match end {
            End::Released => {}
            End::LeaseLost => {
                tracing::warn!(
                    subscription = &*self.shared.store.name,
                    slice = held.slice,
                    "the slice has another holder, or another place; its state is read again"
                );
            }
            // Its slice is still held, so the next renewal starts another one.
            End::Failed => tracing::error!(
                subscription = &*self.shared.store.name,
                slice = held.slice,
                "a worker has panicked; starting another one"
            ),
            End::Blocked(reason) => {
                tracing::error!(
                    subscription = &*self.shared.store.name,
                    reason,
                    "the subscription cannot go on"
                );
                // Without an answer the lease expires.
                let _ = self.shared.store.release_blocked(held, &reason).await;
                self.blocked = Some((reason, self.changes, self.shared.log.seen().get().epoch));
            }
        }
    }

    /// Waits for the workers to give their slices back, but not for ever.
    async fn shut_down(&mut self) {
        self.stop_workers(self.workers.len());
        let limits = self.shared.limits;
        // Nothing renews the leases any more, so nothing may go on for longer than one lasts.
        let limit = Instant::now() + limits.handler_timeout.max(LEAVE_TIMEOUT).min(limits.lease);
        while let Ok(Some(_)) = timeout_at(limit, self.tasks.join_next()).await {}
        self.tasks.abort_all();
        // Without an answer the membership expires.
        let _ = timeout(LEAVE_TIMEOUT, self.shared.store.leave()).await;
    }
}

/// How many of the slices a process should hold: as many as each other, or one more.
const fn share(slices: u32, subscribers: u32, rank: u32) -> u32 {
    let subscribers = if subscribers == 0 { 1 } else { subscribers };
    slices / subscribers + if rank < slices % subscribers { 1 } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shares_are_even_and_cover_all_slices() {
        for slices in [1, 2, 7, 8, 256] {
            for subscribers in 1..20 {
                let shares: Vec<u32> =
                    (0..subscribers).map(|rank| share(slices, subscribers, rank)).collect();
                assert_eq!(shares.iter().sum::<u32>(), slices);
                assert!(shares.iter().max().unwrap() - shares.iter().min().unwrap() <= 1, "{shares:?}");
            }
        }
    }
}
