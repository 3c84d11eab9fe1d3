//! The committer: one task per process that stores all queued units, many per transaction.
//!
//! While the database stores one batch, the next one already waits behind it on the same connection, so that the server
//! does not idle while callers are answered and decide again. Batches in flight together do not conflict
//! ([`batch::compose`]), so neither depends on the outcome of the other.
//!
//! [`queue`] holds what waits, [`outcome`] handles what the database answered, [`recovery`] a lost connection.

mod outcome;
mod queue;
mod recovery;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt as _, MaybeDone, maybe_done};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

pub(super) use queue::Pending;
use queue::{MIN_PIPELINED, Queue, refuse};

use super::batch;
use super::error::AppendError;
use super::own_appends::OwnAppends;
use super::parameters::{Checks, Expected};
use super::recent_writes::RecentWrites;
use super::seen::SeenLog;
use super::session::Session;
use super::transaction::{self, BatchError, Stored};
use crate::clock::{Clock, Stopwatch};
use crate::ids::EventId;
use crate::postgres::{Database, Drivers, statement_reason};

/// How often the committer yields to other tasks before it sends a batch smaller than the last one.
const MAX_YIELDS: u32 = 4;

/// Other nodes are notified of commits at most this often; followers on this node are woken by each commit.
const NOTIFY_EVERY: Duration = Duration::from_millis(5);

/// How long a notification may take before the connection counts as lost.
const NOTIFY_TIMEOUT: Duration = Duration::from_secs(5);

/// The most units held in the queue; beyond that, callers fill the channel.
const MAX_QUEUED: usize = 2 * batch::MAX_BATCH_UNITS;

/// A batch that has been sent.
struct InFlight {
    units: Vec<Pending>,
    /// Its commit notifies other nodes.
    notifies: bool,
    /// It names the newest event, which is the last one of the batch ahead of it if there is one.
    names_head: bool,
    /// It names an event of a batch that was not stored, and so will be refused.
    is_doomed: bool,
    outcome: MaybeDone<BoxFuture<'static, Result<Stored, BatchError>>>,
}

impl InFlight {
    /// Its last event, and how many it has.
    fn end(&self) -> Option<(EventId, i64)> {
        let last = self.units.last()?.unit.events.last()?;
        let events: usize = self.units.iter().map(|pending| pending.unit.events.len()).sum();
        Some((last.id, i64::try_from(events).ok()?))
    }

    /// Waits for the outcome. Cancel safe: dropping this future loses nothing.
    async fn outcome(&mut self) -> Result<Stored, BatchError> {
        (&mut self.outcome).await;
        let outcome = std::pin::Pin::new(&mut self.outcome).take_output();
        outcome.unwrap_or_else(|| Err(BatchError::Unknown("the outcome was taken before".to_owned())))
    }
}

pub(super) struct Committer {
    database: Database,
    clock: Arc<dyn Clock>,
    projection_set: String,
    submissions: mpsc::Receiver<Pending>,
    closing: CancellationToken,
    queue: Queue,
    /// The batches that have been sent, the oldest first: outcomes come in that order.
    in_flight: VecDeque<InFlight>,
    session: Option<Arc<Session>>,
    recent: RecentWrites,
    /// `None` if the next batch must notify.
    last_notified: Option<Stopwatch>,
    /// Other nodes have not been notified of the newest commit.
    notify_pending: bool,
    seen: Arc<SeenLog>,
    own_appends: Arc<OwnAppends>,
    commits: metrics::Counter,
    overtaken: metrics::Counter,
    events: metrics::Counter,
    batch_units: metrics::Histogram,
    queue_length: metrics::Gauge,
}

impl Committer {
    pub(super) fn new(
        database: Database,
        clock: Arc<dyn Clock>,
        projection_set: String,
        submissions: mpsc::Receiver<Pending>,
        closing: CancellationToken,
        seen: Arc<SeenLog>,
        own_appends: Arc<OwnAppends>,
    ) -> Self {
        Self {
            database,
            clock,
            projection_set,
            submissions,
            closing,
            queue: Queue::default(),
            in_flight: VecDeque::new(),
            session: None,
            recent: RecentWrites::new(),
            last_notified: None,
            notify_pending: false,
            seen,
            own_appends,
            commits: metrics::counter!("tenure_commits_total"),
            overtaken: metrics::counter!("tenure_overtaken_batches_total"),
            events: metrics::counter!("tenure_events_total"),
            batch_units: metrics::histogram!("tenure_batch_units"),
            queue_length: metrics::gauge!("tenure_append_queue"),
        }
    }

    /// Runs until the log is closed, or every handle on it is gone, and everything accepted is stored or refused.
    pub(super) async fn run(mut self) {
        let drivers = Drivers::default();
        self.database = self.database.driven_by(&drivers);
        drivers.drive(self.store_submissions()).await;
    }

    async fn store_submissions(mut self) {
        loop {
            self.drain_submissions();
            if let Some(batch) = self.next_batch() {
                self.send(batch).await;
                continue;
            }
            let Some(oldest) = self.in_flight.front_mut() else {
                let pause = NOTIFY_EVERY.saturating_sub(self.since_notified());
                tokio::select! {
                    biased;
                    pending = self.submissions.recv() => match pending {
                        Some(pending) => self.queue.push(pending),
                        None => return,
                    },
                    // Once closed, the channel yields what is left in it and then ends: the arm above returns.
                    () = self.closing.cancelled(), if !self.submissions.is_closed() => {}
                    () = tokio::time::sleep(pause), if self.notify_pending => self.notify().await,
                }
                continue;
            };
            tokio::select! {
                biased;
                outcome = oldest.outcome() => {
                    if let Some(done) = self.in_flight.pop_front() {
                        self.queue.unblock();
                        let answered = done.units.len();
                        self.note_outcome(&done, &outcome);
                        self.handle_outcome(done.units, outcome).await;
                        self.coalesce_briefly(answered).await;
                    }
                }
                // Units must reach the queue while a batch is in flight, or the next one could not leave behind it.
                Some(pending) = self.submissions.recv(), if self.queue.len() < MAX_QUEUED => {
                    self.queue.push(pending);
                }
            }
        }
    }

    fn drain_submissions(&mut self) {
        if self.closing.is_cancelled() {
            self.submissions.close();
        }
        // Bounded, so that the channel fills up and further callers get `Busy`.
        while self.queue.len() < MAX_QUEUED {
            match self.submissions.try_recv() {
                Ok(pending) => self.queue.push(pending),
                Err(_) => break,
            }
        }
    }

    /// Yields briefly so that callers just answered can submit again and share the next batch; a batch has a fixed
    /// cost. Takes no time when there is nothing else to run.
    async fn coalesce_briefly(&mut self, answered: usize) {
        // A single caller has no one to share a batch with, and a large batch is not worth delaying.
        if answered == 1 || answered + self.queue.len() > MIN_PIPELINED {
            return;
        }
        for _ in 0..MAX_YIELDS {
            self.drain_submissions();
            if !self.in_flight.is_empty() || self.queue.len() >= answered {
                return;
            }
            tokio::task::yield_now().await;
        }
    }

    fn next_batch(&mut self) -> Option<Vec<Pending>> {
        let in_flight: Vec<&[Pending]> = self.in_flight.iter().map(|sent| &*sent.units).collect();
        let batch = self.queue.next_batch(&in_flight, &self.recent);
        if batch.is_some() {
            #[allow(clippy::cast_precision_loss)]
            self.queue_length.set((self.queue.len() + self.submissions.len()) as f64);
        }
        batch
    }

    /// Sends a batch; returns once all its bytes are on their way, so that the next batch cannot overtake them.
    async fn send(&mut self, units: Vec<Pending>) {
        // Another connection of this node may have found a new epoch, or another server, first.
        if self.session.as_ref().is_some_and(|session| !session.is_current(&self.seen)) {
            self.session = None;
        }
        let session = match &self.session {
            Some(session) => session.clone(),
            None => match self.connect().await {
                Ok(session) => self.session.insert(Arc::new(session)).clone(),
                Err(error) => return refuse(units, &error),
            },
        };
        // A decision of another epoch may rest on events that were lost with it.
        let is_current =
            |pending: &Pending| pending.unit.premises.epoch.is_none_or(|epoch| epoch == session.epoch());
        let (units, outdated): (Vec<_>, Vec<_>) = units.into_iter().partition(is_current);
        refuse(outdated, &AppendError::EpochChanged);
        if units.is_empty() {
            return;
        }
        let expected = Expected {
            epoch: session.epoch(),
            fence: session.fence(),
            projection_set: self.projection_set.clone(),
            now: self.clock.now(),
            clock_bound: self.clock.max_offset().map(|bound| bound.as_secs_f64()),
        };
        let ahead = self.in_flight.back();
        let checks = if units.iter().any(|pending| pending.full_checks) {
            Checks::Full
        } else if ahead.is_some_and(|ahead| ahead.is_doomed) {
            Checks::Optimistic(None)
        } else {
            Checks::Optimistic(self.recent.expected_head(ahead.and_then(InFlight::end)))
        };
        let names_head = matches!(checks, Checks::Optimistic(Some(_)));
        // A notification costs the server a lock that all databases share, so commits share one.
        let notifies = self.since_notified() >= NOTIFY_EVERY;
        if notifies {
            self.last_notified = Some(Stopwatch::start());
        }
        let batch = units.iter().map(|pending| pending.unit.clone()).collect();
        let (sent, all_sent) = oneshot::channel();
        let mut outcome =
            maybe_done(transaction::store(session, expected, batch, checks, notifies, sent).boxed());
        tokio::select! {
            biased;
            () = &mut outcome => {}
            _ = all_sent => {}
        }
        self.in_flight.push_back(InFlight { units, notifies, names_head, is_doomed: false, outcome });
    }

    /// Keeps what the outcome of a batch says about those that follow.
    fn note_outcome(&mut self, done: &InFlight, outcome: &Result<Stored, BatchError>) {
        let Err(error) = outcome else {
            self.notify_pending = !done.notifies;
            return;
        };
        if done.notifies {
            // The notification was undone with the batch.
            self.last_notified = None;
        }
        for behind in &mut self.in_flight {
            behind.is_doomed = behind.names_head;
        }
        // The refusal of a doomed batch says nothing about other processes.
        if matches!(error, BatchError::HeadMoved) && !done.is_doomed {
            tracing::debug!("another process has appended");
            self.overtaken.increment(1);
            self.recent.forget_head();
        }
    }

    /// How long ago other nodes were notified; at least [`NOTIFY_EVERY`] if the next batch must notify.
    fn since_notified(&self) -> Duration {
        self.last_notified.as_ref().map_or(NOTIFY_EVERY, Stopwatch::elapsed)
    }

    /// Notifies other nodes of the newest commit. If that fails they find it by polling.
    async fn notify(&mut self) {
        self.notify_pending = false;
        self.last_notified = Some(Stopwatch::start());
        let Some(session) = &self.session else { return };
        match timeout(NOTIFY_TIMEOUT, session.notify()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::debug!(
                    error = statement_reason(&error),
                    "other nodes were not notified of a commit"
                );
            }
            Err(_) => self.session = None,
        }
    }
}
