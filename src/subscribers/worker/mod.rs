//! A worker: hands the events of one slice to the handler, in order, and stores how far it has come.

mod hand_out;
mod unpark;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, watch};
use tokio::time::{Instant, sleep, timeout};

use super::attempt::{Call, Lease, Session};
use super::filter::EventFilter;
use super::handler::{Delivery, Work};
use super::handler_thread::HandlerThread;
use super::slices::Handled;
use super::store::{Begun, Held, Mark, Parked, Place, Store};
use super::subscription::{Limits, MAX_RANGE};
use crate::event_log::shared_reader::Events;
use crate::event_log::{EventLog, ReadError, StreamId};
use crate::ids::EventId;

/// After so many positions without a checkpoint one is stored, even if no event was selected.
const MAX_UNSTORED: i64 = MAX_RANGE as i64;

/// How far after its checkpoint a slice may have been when its holder died.
const IN_DOUBT: i64 = 2 * MAX_UNSTORED;

/// How long a slice waits for the next event before it clears `in_doubt`.
const IDLE: Duration = Duration::from_millis(100);

/// How long a place may be ahead of the stored checkpoint while no event is selected.
const STORE_EVERY: Duration = Duration::from_secs(1);

/// How long a slice sleeps if nothing wakes it: wake-ups are hints and may be missed.
const POLL: Duration = Duration::from_millis(500);

/// The first and the longest pause after a failure.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// The longest pause while the database of the log is away.
const LONGEST_OUTAGE_PAUSE: Duration = Duration::from_secs(1);

/// After so many events that came together a slice waits a millisecond for the next ones, and so long at most.
const EVENTS_A_MILLISECOND: u64 = 4;
const LONGEST_GATHERING: Duration = Duration::from_millis(50);

/// How many unparked streams are looked at before the slice goes on with other events.
const RELEASED_AT_ONCE: usize = 10;

/// Held while an event is handed out that may have ended a process: one at a time in this process, so that a crash is blamed
/// on the right event.
static SUSPECTS: Mutex<()> = Mutex::const_new(());

/// What the subscriber tells its workers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Orders {
    pub(super) stops: bool,
    /// The number of acts of operators so far; when it grows, the parked streams are read again.
    pub(super) changes: i64,
}

/// Why a worker ended.
#[derive(Debug)]
pub(super) enum End {
    /// It was told to, and has given the slice back.
    Released,
    /// Another process holds the slice, or may.
    LeaseLost,
    /// It cannot go on until an operator has acted.
    Blocked(String),
    /// It has panicked; this is a defect.
    Failed,
}

/// What all workers of a subscriber share.
pub(super) struct Shared {
    pub(super) log: EventLog,
    pub(super) store: Store,
    pub(super) work: Work,
    pub(super) filter: EventFilter,
    pub(super) slices: u32,
    pub(super) limits: Limits,
    pub(super) handled_events: metrics::Counter,
    pub(super) failures: metrics::Counter,
}

/// The worker of one slice.
pub(super) struct Worker {
    shared: Arc<Shared>,
    held: Held,
    lease: Lease,
    orders: watch::Receiver<Orders>,
    wake: watch::Receiver<i64>,
    session: Option<Session>,
    thread: HandlerThread,
    /// The page that the slice is at.
    events: Events,
    epoch: i64,
    /// The last event that is done with; its checkpoint may not be stored yet.
    position: i64,
    event_id: EventId,
    /// The position of the stored checkpoint, and when it was stored.
    stored: i64,
    stored_at: Instant,
    /// How often the next event was handed out alone and not handled.
    attempts: u32,
    /// What is stored about deliveries that have begun.
    begun: Begun,
    failure: Option<String>,
    /// Up to this position events are handed out one at a time.
    careful_until: i64,
    /// Up to this position one of them may have ended the process that held the slice before.
    suspect_until: i64,
    handled: Handled,
    parked: HashMap<StreamId, Parked>,
    /// Unparked streams wait for a dependency too.
    parked_waits: bool,
    known_changes: i64,
    pause: Duration,
}

/// Why a step was not completed.
enum Trouble {
    LeaseLost,
    Blocked(String),
    /// The database is not available; what was stored is not known.
    Unavailable(String),
}

impl From<ReadError> for Trouble {
    fn from(error: ReadError) -> Self {
        match error {
            // In another epoch the place may have been confirmed for it.
            ReadError::Unavailable(_) | ReadError::LogReplaced { .. } => Self::Unavailable(error.to_string()),
            error => Self::Blocked(error.to_string()),
        }
    }
}

/// Whether a step has done something.
enum Step {
    Worked,
    Idle,
}

impl Worker {
    pub(super) fn new(
        shared: Arc<Shared>,
        held: Held,
        lease: watch::Receiver<Instant>,
        orders: watch::Receiver<Orders>,
    ) -> Self {
        let wake = shared.log.wake_ups();
        Self {
            shared,
            held,
            lease: Lease::new(lease),
            orders,
            wake,
            session: None,
            thread: HandlerThread::default(),
            events: Events::default(),
            epoch: 0,
            position: 0,
            event_id: EventId::NIL,
            stored: 0,
            stored_at: Instant::now(),
            attempts: 0,
            begun: Begun::default(),
            failure: None,
            careful_until: 0,
            suspect_until: 0,
            handled: Handled::default(),
            parked: HashMap::new(),
            parked_waits: false,
            known_changes: -1,
            pause: FIRST_PAUSE,
        }
    }

    /// Works until it is told to stop, or has to.
    pub(super) async fn run(mut self) -> End {
        let mut is_read = false;
        loop {
            if self.orders.borrow().stops {
                // Without an answer the lease expires.
                let _ = self.give_back(is_read).await;
                return End::Released;
            }
            let step = async {
                if self.lease.is_over() {
                    // It may still be renewed, unless the slice has another holder by now.
                    sleep(FIRST_PAUSE).await;
                    let place = self.shared.store.place(self.held).await?;
                    return place.map(|_| Step::Worked).ok_or(Trouble::LeaseLost);
                }
                if !is_read {
                    self.read_place().await?;
                    is_read = true;
                }
                self.step().await
            };
            match step.await {
                Ok(Step::Worked) => {}
                Ok(Step::Idle) => self.wait().await,
                Err(Trouble::LeaseLost) => return End::LeaseLost,
                Err(Trouble::Blocked(reason)) => return End::Blocked(reason),
                Err(Trouble::Unavailable(reason)) => {
                    tracing::warn!(
                        subscription = &*self.shared.store.name,
                        slice = self.held.slice,
                        reason,
                        "the database is not available; the slice waits"
                    );
                    self.wait_for_database().await;
                    is_read = false;
                }
            }
        }
    }

    /// Reads how far the slice has come, and which of its streams wait.
    async fn read_place(&mut self) -> Result<(), Trouble> {
        let place = self.shared.store.place(self.held).await?.ok_or(Trouble::LeaseLost)?;
        if !place.is_in_log {
            let reason =
                format!("the event at its checkpoint, position {}, is not in the log", place.position);
            return Err(Trouble::Blocked(reason));
        }
        let Place { epoch, position, event_id, begun, failure, handled, .. } = place;
        let now = self.shared.log.seen().get().epoch;
        if epoch != now {
            return Err(Trouble::Blocked(format!(
                "its positions are of epoch {epoch}, the log's of epoch {now}"
            )));
        }
        let is_first_read = self.epoch != epoch;
        if is_first_read {
            self.events = Events::default();
            self.attempts = begun.deliveries;
            if begun != Begun::default() {
                self.suspect_until = position + IN_DOUBT;
                self.careful_until = self.suspect_until;
            }
        } else if position != self.stored {
            // The last transaction was stored after all, so nothing after it has begun.
            self.attempts = 0;
        }
        self.epoch = epoch;
        (self.position, self.event_id, self.stored) = (position, event_id, position);
        (self.begun, self.failure, self.handled) = (begun, failure, handled);
        self.read_parked().await
    }

    async fn read_parked(&mut self) -> Result<(), Trouble> {
        let changes = self.orders.borrow().changes;
        let parked = self.shared.store.parked(self.held).await?;
        self.parked = parked.into_iter().map(|parked| (parked.stream.clone(), parked)).collect();
        self.known_changes = changes;
        Ok(())
    }

    async fn step(&mut self) -> Result<Step, Trouble> {
        if self.orders.borrow().changes != self.known_changes {
            // An operator has acted: the slice may have been taken back, too.
            self.read_place().await?;
        }
        // Some events of the streams that were unparked, then one range of the others, so that neither waits for all
        // of the other.
        let released = self.parked.values().filter(|parked| parked.is_released);
        let released: Vec<_> = released.take(RELEASED_AT_ONCE).cloned().collect();
        let has_released = !released.is_empty();
        for parked in released {
            self.step_of_parked(parked).await?;
        }
        // Before the log is read: a commit after that wakes this worker.
        self.wake.borrow_and_update();
        let reader = self.shared.log.shared_reader();
        let events = match self.events.after(self.position) {
            Some(events) => events,
            None => reader.after(self.epoch, self.position).await?,
        };
        self.events = events.clone();
        if events.as_slice().is_empty() {
            return Ok(if has_released { Step::Worked } else { Step::Idle });
        }
        if events.is_full_page()
            && let Some(last) = events.as_slice().last()
        {
            // The next page is read while this one is handled.
            let (reader, epoch, next) = (reader.clone(), self.epoch, last.position);
            tokio::spawn(async move { reader.after(epoch, next).await.map(drop) });
        }
        self.hand_out(&events).await?;
        let is_through = events.as_slice().last().is_some_and(|last| last.position == self.position);
        if is_through && !events.is_full_page() {
            // Under a heavy stream of commits, a short wait makes fewer and larger ranges, which leaves more to the writers.
            let count = u64::try_from(events.as_slice().len()).unwrap_or(0);
            let pause = Duration::from_millis(count / EVENTS_A_MILLISECOND).min(LONGEST_GATHERING);
            if !pause.is_zero() {
                sleep(pause).await;
            }
        }
        Ok(Step::Worked)
    }

    /// Waits for new events, or for orders. Stores the place if nothing comes for a while.
    async fn wait(&mut self) {
        let has_begun = self.begun != self.at_rest();
        let is_ahead = self.stored != self.position;
        let limit = match (has_begun, is_ahead) {
            (true, _) => IDLE,
            (false, true) => STORE_EVERY.saturating_sub(self.stored_at.elapsed()),
            (false, false) => POLL,
        };
        let waited = timeout(limit, async {
            tokio::select! {
                woken = self.wake.changed() => if woken.is_err() { std::future::pending::<()>().await },
                told = self.orders.changed() => if told.is_err() { std::future::pending::<()>().await },
            }
        });
        if waited.await.is_err() && (has_begun || is_ahead) {
            // If this fails, the next step finds out why.
            let _ = self.rest().await;
        }
    }

    /// Waits before the database is asked again: not for long, because it is known to come back.
    async fn wait_for_database(&mut self) {
        self.pause = self.pause.min(LONGEST_OUTAGE_PAUSE);
        self.back_off().await;
    }

    /// Waits before something is tried again, longer each time, unless there is something else to do soon.
    async fn back_off(&mut self) {
        let mut orders = self.orders.clone();
        orders.mark_unchanged();
        let has_news = orders.borrow().changes != self.known_changes;
        if has_news || !self.parked_waits && self.parked.values().any(|parked| parked.is_released) {
            self.pause = FIRST_PAUSE;
        }
        match timeout(self.pause, orders.changed()).await {
            // An operator's act is a reason to try again soon.
            Ok(_) => self.pause = FIRST_PAUSE,
            Err(_) => self.pause = (self.pause * 2).min(LONGEST_PAUSE),
        }
    }

    /// What is to be stored while no delivery is under way.
    const fn at_rest(&self) -> Begun {
        Begun { in_doubt: false, deliveries: self.attempts }
    }

    /// Stores the place that was reached, or that nothing is under way after it.
    async fn rest(&mut self) -> Result<(), Trouble> {
        if self.stored == self.position {
            // Keeps the count of the next event.
            return self.begin(self.at_rest()).await;
        }
        self.store_place(false).await
    }

    /// Stores the place that was reached. With `goes_on`, the next deliveries begin without being announced again.
    async fn store_place(&mut self, goes_on: bool) -> Result<(), Trouble> {
        let in_doubt = goes_on && !self.is_careful();
        let (position, event_id, before) = (self.position, self.event_id, self.stored);
        let mark = Mark { position, event_id, in_doubt, before };
        if !self.shared.store.checkpoint(self.held, mark, self.epoch).await? {
            return Err(Trouble::LeaseLost);
        }
        self.remember_stored(in_doubt);
        // The place may be ahead of what was handed out, but not beyond the event that these count.
        if self.attempts > 0 { self.begin(self.at_rest()).await } else { Ok(()) }
    }

    /// Remembers that the place that was reached is stored.
    fn remember_stored(&mut self, in_doubt: bool) {
        self.begun = Begun { in_doubt, deliveries: 0 };
        (self.stored, self.failure) = (self.position, None);
        self.stored_at = Instant::now();
    }

    /// Whether events are handed out one at a time.
    const fn is_careful(&self) -> bool {
        self.attempts > 0 || self.position < self.careful_until
    }

    async fn give_back(&mut self, is_read: bool) -> Result<(), Trouble> {
        // After trouble it is not known what is stored.
        if is_read && self.stored != self.position {
            self.store_place(false).await?;
        }
        // What this worker has not read it leaves as it is.
        let deliveries = is_read.then_some(self.attempts);
        Ok(self.shared.store.release(self.held, deliveries).await?)
    }

    /// Stores what begins before it does, unless the last checkpoint has already said so.
    async fn begin(&mut self, begun: Begun) -> Result<(), Trouble> {
        if self.begun == begun {
            return Ok(());
        }
        if !self.shared.store.begin(self.held, begun, self.failure.as_deref()).await? {
            return Err(Trouble::LeaseLost);
        }
        self.begun = begun;
        Ok(())
    }

    /// Stores why the next event is not handled yet.
    async fn say(&mut self, failure: &str) -> Result<(), Trouble> {
        let begun = self.at_rest();
        if self.begun == begun && self.failure.as_deref() == Some(failure) {
            return Ok(());
        }
        self.failure = Some(failure.to_owned());
        if !self.shared.store.begin(self.held, begun, Some(failure)).await? {
            return Err(Trouble::LeaseLost);
        }
        self.begun = begun;
        Ok(())
    }

    fn call(&self, attempt: u32) -> Call {
        let Shared { log, store, limits, .. } = &*self.shared;
        let Held { slice, lease_epoch } = self.held;
        Call {
            log: log.clone(),
            store: store.clone(),
            held: self.held,
            epoch: self.epoch,
            lease: self.lease.clone(),
            timeout: limits.handler_timeout,
            delivery: Delivery { subscription: store.name.clone(), slice, attempt, lease_epoch },
        }
    }
}
