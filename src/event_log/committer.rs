//! The committer: one task per process that stores everything that waits, many units to a transaction.
//!
//! While the database stores one batch, the next one already waits behind it on the same connection, so that the
//! server does not idle while callers are answered and decide again. Units of batches under way together touch
//! nothing in common ([`batch::compose`]), so neither depends on how the other ends.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt as _, MaybeDone, maybe_done};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::batch::{self, Waiting};
use super::checkpoint::Checkpoint;
use super::error::AppendError;
use super::log::Appended;
use super::parameters::{Expected, Way};
use super::recent::Recent;
use super::seen::{Seen, SeenLog};
use super::session::{Resolution, Session, reason};
use super::transaction::{self, BatchError, FirstOrdinals, Stored};
use super::unit::Unit;
use crate::clock::{Clock, Stopwatch, Timestamp};
use crate::ids::EventId;
use crate::postgres::{Database, STATEMENT_TIMEOUT};

/// How often a batch is sent again after a deadlock, a lock not granted or a moved fence.
const MAX_TRIES: u32 = 10;

/// How many batches are under way at most; [`Recent::sight`] relies on no more than one being ahead of another.
const MAX_UNDER_WAY: usize = 2;

/// How large a batch must be to be sent behind another: below that, one larger batch costs less than two.
const MIN_BEHIND: usize = 8;

/// How often other tasks get their turn before a batch leaves that is smaller than the last one was.
const MAX_YIELDS: u32 = 4;

/// How often other nodes are told of commits at most; this one is told of each.
const NOTICE_EVERY: Duration = Duration::from_millis(2);

/// How long that may take before the connection counts as lost.
const NOTICE_WITHIN: Duration = Duration::from_secs(5);

/// How many units are taken from the callers' channel before they have been sent.
const MAX_TAKEN: usize = 2 * batch::MAX_BATCH_UNITS;

/// A unit whose caller waits for its outcome.
pub(super) struct Pending {
    unit: Arc<Unit>,
    answer: oneshot::Sender<Result<Appended, AppendError>>,
    tries: u32,
    careful: bool,
}

impl Pending {
    pub(super) fn new(unit: Unit, answer: oneshot::Sender<Result<Appended, AppendError>>) -> Self {
        Self { unit: Arc::new(unit), answer, tries: 0, careful: false }
    }
}

impl Waiting for Pending {
    fn unit(&self) -> &Unit {
        &self.unit
    }
}

/// A batch that has been sent.
struct UnderWay {
    part: Vec<Pending>,
    notifies: bool,
    outcome: MaybeDone<BoxFuture<'static, Result<Stored, BatchError>>>,
}

impl UnderWay {
    /// Its last event, and how many it has.
    fn end(&self) -> Option<(EventId, i64)> {
        let last = self.part.last()?.unit.events.last()?;
        let events: usize = self.part.iter().map(|pending| pending.unit.events.len()).sum();
        Some((last.id, i64::try_from(events).ok()?))
    }

    /// What became of it; to be awaited as often as one likes.
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
    waiting: mpsc::Receiver<Pending>,
    closing: CancellationToken,
    queue: VecDeque<Pending>,
    /// Halves of batches whose data the database refused, each to be tried by itself.
    apart: VecDeque<Vec<Pending>>,
    under_way: VecDeque<UnderWay>,
    /// Whoever is left in the queue touches what is under way.
    blocked: bool,
    session: Option<Arc<Session>>,
    recent: Recent,
    noticed: Stopwatch,
    /// Other nodes have not been told of the newest commit.
    owes_notice: bool,
    seen: Arc<SeenLog>,
    commits: metrics::Counter,
    events: metrics::Counter,
    batch_units: metrics::Histogram,
    queue_length: metrics::Gauge,
}

impl Committer {
    pub(super) fn new(
        database: Database,
        clock: Arc<dyn Clock>,
        projection_set: String,
        waiting: mpsc::Receiver<Pending>,
        closing: CancellationToken,
        seen: Arc<SeenLog>,
    ) -> Self {
        Self {
            database,
            clock,
            projection_set,
            waiting,
            closing,
            queue: VecDeque::new(),
            apart: VecDeque::new(),
            under_way: VecDeque::new(),
            blocked: false,
            session: None,
            recent: Recent::new(),
            noticed: Stopwatch::start(),
            owes_notice: false,
            seen,
            commits: metrics::counter!("tenure_commits_total"),
            events: metrics::counter!("tenure_events_total"),
            batch_units: metrics::histogram!("tenure_batch_units"),
            queue_length: metrics::gauge!("tenure_append_queue"),
        }
    }

    /// Runs until the log is closed, or every handle on it gone, and everything accepted is stored or refused.
    pub(super) async fn run(mut self) {
        loop {
            self.take_what_waits();
            if let Some(part) = self.next_batch() {
                self.send(part).await;
                continue;
            }
            let Some(oldest) = self.under_way.front_mut() else {
                let pause = NOTICE_EVERY.saturating_sub(self.noticed.elapsed());
                tokio::select! {
                    biased;
                    pending = self.waiting.recv() => match pending {
                        Some(pending) => self.queue.push_back(pending),
                        None => return,
                    },
                    () = self.closing.cancelled(), if !self.waiting.is_closed() => {}
                    () = tokio::time::sleep(pause), if self.owes_notice => self.notify().await,
                }
                continue;
            };
            tokio::select! {
                biased;
                outcome = oldest.outcome() => {
                    if let Some(done) = self.under_way.pop_front() {
                        self.blocked = false;
                        let answered = done.part.len();
                        if outcome.is_ok() {
                            self.owes_notice = !done.notifies;
                        }
                        self.settle(done.part, outcome).await;
                        self.gather(answered).await;
                    }
                }
                Some(pending) = self.waiting.recv(), if self.queue.len() < MAX_TAKEN => {
                    self.queue.push_back(pending);
                }
            }
        }
    }

    fn take_what_waits(&mut self) {
        if self.closing.is_cancelled() {
            self.waiting.close();
        }
        while self.queue.len() < MAX_TAKEN {
            match self.waiting.try_recv() {
                Ok(pending) => self.queue.push_back(pending),
                Err(_) => break,
            }
        }
    }

    /// Lets those who have just been answered come back before the next batch leaves, if they do so at once: a batch
    /// has its price, however few share it. Takes no time when there is nothing else to do.
    async fn gather(&mut self, answered: usize) {
        if answered == 1 || answered + self.queue.len() > MIN_BEHIND {
            return;
        }
        for _ in 0..MAX_YIELDS {
            self.take_what_waits();
            if !self.under_way.is_empty() || self.queue.len() >= answered {
                return;
            }
            tokio::task::yield_now().await;
        }
    }

    /// What to send now, if anything.
    ///
    /// A batch that would wait behind another gains nothing by leaving early, and grows by staying: it leaves once it
    /// is as large as what is under way.
    fn next_batch(&mut self) -> Option<Vec<Pending>> {
        if !self.apart.is_empty() {
            return if self.under_way.is_empty() { self.apart.pop_front() } else { None };
        }
        if self.queue.is_empty() || self.blocked || self.under_way.len() == MAX_UNDER_WAY {
            return None;
        }
        let ahead: usize = self.under_way.iter().map(|sent| sent.part.len()).sum();
        if ahead > 0 && self.queue.len() < ahead.max(MIN_BEHIND) {
            return None;
        }
        // Nobody waits for these any more, and they have not been sent.
        self.queue.retain(|pending| !pending.answer.is_closed());
        let mut part = Vec::new();
        while part.is_empty() && !self.queue.is_empty() {
            let under_way = self.under_way.iter().flat_map(|sent| &sent.part).map(Waiting::unit);
            let chosen = batch::compose(&mut self.queue, under_way);
            self.blocked =
                chosen.len() < batch::MAX_BATCH_UNITS && !self.queue.is_empty() && !self.under_way.is_empty();
            if chosen.is_empty() {
                break;
            }
            part = self.without_losers(chosen);
        }
        #[allow(clippy::cast_precision_loss)]
        self.queue_length.set((self.queue.len() + self.waiting.len()) as f64);
        (!part.is_empty()).then_some(part)
    }

    /// Answers those who are known to have lost: they would make the whole batch lose time.
    fn without_losers(&self, part: Vec<Pending>) -> Vec<Pending> {
        let mut rest = Vec::with_capacity(part.len());
        for pending in part {
            match self.recent.loss(&pending.unit) {
                Some(error) => drop(pending.answer.send(Err(error))),
                None => rest.push(pending),
            }
        }
        rest
    }

    /// Sends a batch; comes back once all its bytes are on their way, so that the next cannot get between them.
    async fn send(&mut self, part: Vec<Pending>) {
        // Another connection of this node may have found a new epoch, or another server, first.
        if self.session.as_ref().is_some_and(|session| !session.is_current(&self.seen)) {
            self.session = None;
        }
        let session = match &self.session {
            Some(session) => session.clone(),
            None => match self.connect().await {
                Ok(session) => self.session.insert(Arc::new(session)).clone(),
                Err(error) => return refuse(part, &error),
            },
        };
        // What was decided on the events of another epoch may rest on some that are not there any more.
        let is_current =
            |pending: &Pending| pending.unit.premises.epoch.is_none_or(|epoch| epoch == session.epoch());
        let (part, outdated): (Vec<_>, Vec<_>) = part.into_iter().partition(is_current);
        refuse(outdated, &AppendError::EpochChanged);
        if part.is_empty() {
            return;
        }
        let units = part.iter().map(|pending| pending.unit.clone()).collect();
        let expected = Expected {
            epoch: session.epoch(),
            fence: session.fence(),
            projection_set: self.projection_set.clone(),
            now: self.clock.now(),
            clock_bound: self.clock.max_offset().map(|bound| bound.as_secs_f64()),
        };
        let ahead = self.under_way.back().and_then(UnderWay::end);
        let careful = part.iter().any(|pending| pending.careful);
        let way = if careful { Way::Careful } else { Way::Usual(self.recent.sight(ahead)) };
        let notifies = self.noticed.elapsed() >= NOTICE_EVERY;
        if notifies {
            self.noticed = Stopwatch::start();
        }
        let (sent, all_sent) = oneshot::channel();
        let mut outcome =
            maybe_done(transaction::store(session, expected, units, way, notifies, sent).boxed());
        tokio::select! {
            biased;
            () = &mut outcome => {}
            _ = all_sent => {}
        }
        self.under_way.push_back(UnderWay { part, notifies, outcome });
    }

    /// Tells other nodes of what was committed since they were told; should it fail, they find out by themselves.
    async fn notify(&mut self) {
        self.owes_notice = false;
        self.noticed = Stopwatch::start();
        let Some(session) = &self.session else { return };
        match timeout(NOTICE_WITHIN, session.notify()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::debug!(error = reason(&error), "other nodes were not told of a commit");
            }
            Err(_) => self.session = None,
        }
    }

    /// Answers the units of a batch, or sees to it that they are sent again.
    async fn settle(&mut self, part: Vec<Pending>, outcome: Result<Stored, BatchError>) {
        let mut settling = VecDeque::from([(part, outcome)]);
        while let Some((mut part, outcome)) = settling.pop_front() {
            let error = match outcome {
                Ok(stored) if stored.server == self.seen.get().server => {
                    self.answer(part, stored);
                    continue;
                }
                // On a server that the node has left meanwhile: only what is there where it is now counts.
                Ok(_) => {
                    BatchError::Unknown("the batch was stored on a server that was left since".to_owned())
                }
                Err(error) => error,
            };
            match error {
                BatchError::Contested(losers) => {
                    let rest = remove(part, losers);
                    self.queue_again(rest);
                }
                BatchError::Collided => {
                    for pending in &mut part {
                        pending.careful = true;
                    }
                    self.queue_again(part);
                }
                BatchError::FenceMoved => {
                    let endless = AppendError::Unavailable("the fence moves without end".to_owned());
                    self.try_again(part, &endless);
                    if let Some(session) = &self.session
                        && !timeout(STATEMENT_TIMEOUT, session.refresh_fence())
                            .await
                            .is_ok_and(|read| read.is_ok())
                    {
                        self.session = None;
                    }
                }
                BatchError::TryAgain(reason) => {
                    tracing::warn!(reason, "a batch is sent again");
                    self.try_again(part, &AppendError::Unavailable(reason));
                }
                BatchError::Replaced(reason) => {
                    tracing::warn!(reason, "a batch is prepared anew");
                    self.session = None;
                    self.try_again(part, &AppendError::Unavailable(reason));
                }
                BatchError::Superseded(set) => {
                    self.session = None;
                    refuse(part, &AppendError::Superseded(set));
                }
                BatchError::EpochChanged => {
                    // The connection is opened anew, and with it this node follows to the new epoch.
                    self.session = None;
                    self.queue_again(part);
                }
                BatchError::ClockOff => {
                    let bound = self.clock.max_offset().unwrap_or(Duration::MAX).as_secs_f64();
                    match self.clock_offset().await.filter(|offset| offset.abs() > bound) {
                        Some(offset) => {
                            let error = AppendError::clock(offset);
                            tracing::error!(%error, "nothing can be stored");
                            refuse(part, &error);
                        }
                        // It had waited on its way, behind another batch or on a server that stood still.
                        None => {
                            self.try_again(
                                part,
                                &AppendError::Unavailable("the database is too slow".to_owned()),
                            );
                        }
                    }
                }
                BatchError::Data(code) if part.len() == 1 => {
                    tracing::error!(code, "the database refuses the data of a unit");
                    refuse(part, &AppendError::Refused { code });
                }
                BatchError::Data(_) => {
                    let second = part.split_off(part.len() / 2);
                    self.apart.push_front(second);
                    self.apart.push_front(part);
                }
                BatchError::Unavailable(reason) => {
                    self.session = None;
                    tracing::error!(reason, "the event log cannot be written to");
                    refuse(part, &AppendError::Unavailable(reason));
                }
                BatchError::Unknown(reason) => {
                    tracing::warn!(reason, "the connection was lost while committing");
                    // The other batch on it cannot be answered either: it must not wait for its own time to run out.
                    if let Some(session) = self.session.take() {
                        session.cut();
                    }
                    while let Some(mut sent) = self.under_way.pop_front() {
                        let outcome = sent.outcome().await;
                        settling.push_back((sent.part, outcome));
                    }
                    match self.resolve(&part).await {
                        Some(stored) => self.answer(part, stored),
                        None => self.queue_again(part),
                    }
                }
            }
        }
    }

    /// By how much this machine's clock differs from the server's, in seconds, if that can be found out.
    fn clock_offset(&self) -> impl Future<Output = Option<f64>> + use<> {
        let (session, clock) = (self.session.clone(), self.clock.clone());
        async move { timeout(STATEMENT_TIMEOUT, session?.clock_offset(&*clock)).await.ok()?.ok() }
    }

    async fn connect(&mut self) -> Result<Session, AppendError> {
        let session = Session::open(&self.database, &self.seen, &self.projection_set).await?;
        self.recent.lose_sight(session.epoch());
        Ok(session)
    }

    /// Puts units at the front of the queue, in order.
    fn queue_again(&mut self, part: Vec<Pending>) {
        for pending in part.into_iter().rev() {
            self.queue.push_front(pending);
        }
    }

    /// The same, but not for ever: refuses those that have been sent too often.
    fn try_again(&mut self, mut part: Vec<Pending>, too_often: &AppendError) {
        for pending in &mut part {
            pending.tries += 1;
        }
        let (given_up, rest) = part.into_iter().partition(|pending| pending.tries >= MAX_TRIES);
        refuse::<Vec<_>>(given_up, too_often);
        self.queue_again(rest);
    }

    /// Finds out whether a batch was stored, for as long as somebody waits for the answer; meanwhile nothing else is
    /// accepted.
    async fn resolve(&mut self, part: &[Pending]) -> Option<Stored> {
        let first = part.iter().find_map(|pending| pending.unit.events.first())?;
        let mut pause = Duration::from_millis(20);
        loop {
            let error = match self.connect().await {
                Ok(mut session) => {
                    let (stream, version) = (&first.stream, first.version);
                    let found = session.resolve(&stream.stream_type, &stream.id, version, first.id);
                    match timeout(STATEMENT_TIMEOUT, found).await {
                        Ok(Ok(resolution)) => {
                            self.session = Some(Arc::new(session));
                            return match resolution {
                                Resolution::Stored { base, recorded_from } => {
                                    let Seen { epoch, server, .. } = self.seen.get();
                                    Some(Stored { epoch, server, base, recorded_from })
                                }
                                Resolution::NotStored => None,
                            };
                        }
                        Ok(Err(error)) => AppendError::Unavailable(reason(&error)),
                        Err(_) => AppendError::Unavailable("the database did not answer in time".to_owned()),
                    }
                }
                Err(error) => error,
            };
            tracing::warn!(%error, "the outcome of a batch is still unknown");
            while let Ok(pending) = self.waiting.try_recv() {
                self.queue.push_back(pending);
            }
            refuse(self.queue.drain(..).chain(self.apart.drain(..).flatten()), &error);
            if part.iter().all(|pending| pending.answer.is_closed()) {
                // Everybody has been told that the outcome is not known: nobody is left to find it out for, and a
                // process that is to end must not wait for a database that is gone.
                return None;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(1));
        }
    }

    /// Tells the callers where their events are, wakes the followers, and sends away who has lost meanwhile.
    fn answer(&mut self, part: Vec<Pending>, stored: Stored) {
        let units: Vec<&Unit> = part.iter().map(Waiting::unit).collect();
        self.recent.stored(stored.base, units.iter().copied());
        self.take_what_waits();
        let bounced = batch::bounce(&mut self.queue, &units);
        let ordinals = FirstOrdinals::of(units.iter().copied());
        let events: usize = units.iter().map(|unit| unit.events.len()).sum();
        let newest = stored.base + i64::try_from(events).unwrap_or(0);
        let last_event = units.last().and_then(|unit| unit.events.last()).map(|event| event.id);
        // Before anybody is told: whatever is read from now on has to show it.
        if let Some(event_id) = last_event {
            self.seen.note(stored.epoch, newest, event_id);
        }
        self.commits.increment(1);
        self.events.increment(events as u64);
        #[allow(clippy::cast_precision_loss)]
        self.batch_units.record(part.len() as f64);
        for (place, pending) in part.into_iter().enumerate() {
            let first = ordinals.of_unit(place);
            let count = i64::try_from(pending.unit.events.len()).unwrap_or(1);
            let micros = stored.recorded_from.as_micros() + first - 1;
            let appended = Appended {
                first: stored.base + first,
                last: Checkpoint {
                    log_id: self.seen.log_id(),
                    epoch: stored.epoch,
                    position: stored.base + first + count - 1,
                    event_id: pending.unit.events.last().map_or(EventId::NIL, |event| event.id),
                },
                recorded_from: Timestamp::from_micros(micros),
            };
            // Whoever has stopped waiting finds the events in the log.
            let _ = pending.answer.send(Ok(appended));
        }
        for (pending, error) in bounced {
            let _ = pending.answer.send(Err(error));
        }
        // After the callers, who can send their next commands while the followers read.
        self.seen.wake_followers();
    }
}

fn refuse<P: IntoIterator<Item = Pending>>(part: P, error: &AppendError) {
    for pending in part {
        let _ = pending.answer.send(Err(error.clone()));
    }
}

/// Answers the losers and keeps the others, in order.
fn remove(part: Vec<Pending>, losers: Vec<(usize, AppendError)>) -> Vec<Pending> {
    let mut losers: std::collections::HashMap<usize, AppendError> = losers.into_iter().collect();
    let mut rest = Vec::with_capacity(part.len());
    for (place, pending) in part.into_iter().enumerate() {
        match losers.remove(&place) {
            Some(error) => {
                let _ = pending.answer.send(Err(error));
            }
            None => rest.push(pending),
        }
    }
    rest
}
