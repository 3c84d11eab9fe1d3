//! The newest events of the log, read and shown once for all readers of a node.
//!
//! One task follows the log while there are readers. It keeps a window of the newest events as JSON, and wakes only the
//! readers whom an event concerns. A reader that is behind the window reads the log itself.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Notify, watch};
use uuid::Uuid;

use crate::Tenure;
use crate::aggregates::STREAM_TYPES;
use crate::event_log::{ReadError, RecordedEvent};
use crate::history::EventRecord;

/// The most events in the window, and the most bytes of them.
const MAX_EVENTS: usize = 1_024;
const MAX_BYTES: usize = 8 * 1024 * 1024;

/// The pause before the log is read again after a failure.
const RETRY: Duration = Duration::from_millis(250);

/// What a reader waits for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Topic {
    /// Every event.
    All,
    /// Events that concern an account.
    Account(Uuid),
    /// Events of one stream, such as that of the reader's credential.
    Stream(Uuid),
}

/// An event as readers get it.
#[derive(Clone, Debug)]
pub struct Shown {
    /// The position of the event.
    pub position: i64,
    /// The account that it concerns.
    pub account: Option<Uuid>,
    /// What happened, for example `account.opened`.
    pub event_type: String,
    /// The whole record.
    pub json: Bytes,
}

impl Shown {
    /// The record as JSON.
    #[must_use]
    pub fn of(record: &EventRecord) -> Self {
        Self {
            position: record.position,
            account: record.account_id,
            event_type: record.event_type.clone(),
            // A record has string keys alone, so it always has a form in JSON.
            json: serde_json::to_vec(record).unwrap_or_default().into(),
        }
    }
}

/// What the window has for a reader.
#[derive(Debug)]
pub enum Look {
    /// The events after the reader's place that it asked for, at most as many as it asked for, and the place after them.
    Events(Vec<Arc<Shown>>, i64),
    /// The reader is behind the window, whose newest event is this; it has to read the log.
    Behind(i64),
    /// Positions have a new epoch, or the log cannot be trusted.
    Ended,
}

/// The newest events of the log, for the readers of a node.
#[derive(Clone)]
pub struct LiveFeed(Arc<Feed>);

struct Feed {
    tenure: Arc<Tenure>,
    state: Mutex<State>,
    /// Tells the follower that the last reader has gone.
    idle: Notify,
}

#[derive(Default)]
struct State {
    seats: usize,
    /// There is one while the log is followed.
    window: Option<Window>,
    /// For each topic with readers, the position of its newest event.
    topics: HashMap<Topic, watch::Sender<i64>>,
}

struct Window {
    epoch: i64,
    /// The position before the first event of the window.
    begin: i64,
    newest: i64,
    events: VecDeque<Arc<Shown>>,
    bytes: usize,
}

/// The place of a reader, until it is dropped.
pub struct Seat {
    feed: Arc<Feed>,
    /// Changes with every event that the reader waits for.
    wakes: Vec<watch::Receiver<i64>>,
    /// The newest event of the streams that the reader's rights come from.
    rights: Vec<watch::Receiver<i64>>,
}

impl LiveFeed {
    /// The feed of an engine. It follows the log only while it has readers.
    #[must_use]
    pub fn new(tenure: Arc<Tenure>) -> Self {
        Self(Arc::new(Feed { tenure, state: Mutex::default(), idle: Notify::new() }))
    }

    /// Joins the readers. `topic` is what the reader asks for; `rights` are the streams that its rights come from.
    ///
    /// # Errors
    /// [`ReadError`] if the log cannot be read.
    pub async fn join(&self, topic: Topic, rights: &[Uuid]) -> Result<Seat, ReadError> {
        let feed = &self.0;
        let seat = {
            let mut state = feed.lock();
            state.seats += 1;
            let mut subscribe =
                |topic: Topic| state.topics.entry(topic).or_insert_with(|| watch::Sender::new(0)).subscribe();
            let rights: Vec<_> = rights.iter().map(|id| subscribe(Topic::Stream(*id))).collect();
            let wakes = std::iter::once(subscribe(topic)).chain(rights.iter().cloned()).collect();
            Seat { feed: feed.clone(), wakes, rights }
        };
        feed.ensure_followed().await?;
        Ok(seat)
    }
}

impl Feed {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts the follower unless it runs.
    async fn ensure_followed(self: &Arc<Self>) -> Result<(), ReadError> {
        if self.lock().window.is_some() {
            return Ok(());
        }
        let log = self.tenure.log();
        let newest = log.newest().await?;
        let mut follower = log.follow(newest);
        let epoch = follower.checkpoint().epoch;
        {
            let mut state = self.lock();
            // Another reader may have started it meanwhile.
            if state.window.is_some() {
                return Ok(());
            }
            state.window = Some(Window { epoch, begin: newest, newest, events: VecDeque::new(), bytes: 0 });
        }
        let feed = self.clone();
        tokio::spawn(async move {
            loop {
                let read = tokio::select! {
                    read = follower.next() => read,
                    () = feed.idle.notified() => {
                        if feed.stops_if_idle() { return }
                        continue;
                    }
                };
                match read {
                    Ok(events) => {
                        let Some(records) = feed.describe(&events).await else { return };
                        feed.publish(&records, feed.last_ending(&events));
                    }
                    Err(ReadError::Unavailable(_)) => {
                        tokio::time::sleep(RETRY).await;
                        if feed.stops_if_idle() {
                            return;
                        }
                    }
                    Err(error) => {
                        tracing::warn!(%error, "readers of the log have to begin again");
                        feed.end();
                        return;
                    }
                }
            }
        });
        Ok(())
    }

    /// The events as they are shown. Tries again while the keys cannot be read; none once the last reader has gone.
    async fn describe(&self, events: &[RecordedEvent]) -> Option<Vec<EventRecord>> {
        loop {
            match self.tenure.describe(events).await {
                Ok(records) => return Some(records),
                Err(error) => tracing::warn!(%error, "events cannot be shown; trying again"),
            }
            tokio::time::sleep(RETRY).await;
            if self.stops_if_idle() {
                return None;
            }
        }
    }

    /// The position of the last of these events that destroys a data key, or may.
    fn last_ending(&self, events: &[RecordedEvent]) -> Option<i64> {
        let codec = self.tenure.codec();
        let is_ending = |event: &&RecordedEvent| {
            // Events of others seal nothing under keys of ours.
            let is_ours = STREAM_TYPES.contains(&&*event.stream.stream_type);
            is_ours && codec.ended_subjects(event).map_or(true, |ended| !ended.is_empty())
        };
        events.iter().rev().find(is_ending).map(|event| event.position)
    }

    /// Adds events to the window and wakes those who wait for them. What was shown before an event that destroys a key is
    /// forgotten: it may hold what that key sealed, and readers that are behind read the log, where it is unreadable now.
    fn publish(&self, records: &[EventRecord], ending: Option<i64>) {
        let mut state = self.lock();
        let State { window, topics, .. } = &mut *state;
        let Some(window) = window else { return };
        let mut touched: HashMap<Topic, i64> = HashMap::new();
        for record in records {
            let shown = Shown::of(record);
            window.newest = shown.position;
            window.bytes += shown.json.len();
            touched.insert(Topic::All, shown.position);
            if let Some(account) = shown.account {
                touched.insert(Topic::Account(account), shown.position);
            }
            if let Ok(stream) = record.stream_id.parse() {
                touched.insert(Topic::Stream(stream), shown.position);
            }
            window.events.push_back(Arc::new(shown));
            while window.events.len() > MAX_EVENTS || window.bytes > MAX_BYTES {
                let Some(first) = window.events.pop_front() else { break };
                window.begin = first.position;
                window.bytes -= first.json.len();
            }
        }
        while ending.is_some() && window.events.front().is_some_and(|first| Some(first.position) < ending) {
            let Some(first) = window.events.pop_front() else { break };
            window.begin = first.position;
            window.bytes -= first.json.len();
        }
        for (topic, position) in touched {
            if let Some(waiting) = topics.get(&topic) {
                waiting.send_replace(position);
            }
        }
    }

    /// Discards the window and wakes all readers, which then end. The next reader starts a new window.
    fn end(&self) {
        let mut state = self.lock();
        state.window = None;
        for waiting in state.topics.values() {
            waiting.send_replace(i64::MAX);
        }
    }

    /// Whether no reader is left. The window is then gone, and the follower has to stop.
    fn stops_if_idle(&self) -> bool {
        let mut state = self.lock();
        let is_idle = state.seats == 0;
        if is_idle {
            state.window = None;
        }
        is_idle
    }
}

impl Seat {
    /// The epoch of the positions, and the newest position. None if the feed has ended.
    #[must_use]
    pub fn newest(&self) -> Option<(i64, i64)> {
        self.feed.lock().window.as_ref().map(|window| (window.epoch, window.newest))
    }

    /// What there is after a place of this epoch, at most `limit` events that `wants` wants.
    #[must_use]
    pub fn look(&self, epoch: i64, after: i64, limit: usize, wants: impl Fn(&Shown) -> bool) -> Look {
        let state = self.feed.lock();
        let Some(window) = state.window.as_ref().filter(|window| window.epoch == epoch) else {
            return Look::Ended;
        };
        if after < window.begin {
            return Look::Behind(window.newest);
        }
        let begin = window.events.partition_point(|event| event.position <= after);
        let mut found = Vec::new();
        for event in window.events.iter().skip(begin).filter(|event| wants(event)) {
            found.push(event.clone());
            if found.len() == limit {
                let place = event.position;
                return Look::Events(found, place);
            }
        }
        Look::Events(found, window.newest.max(after))
    }

    /// The position of the newest event, since the reader joined, on a stream that its rights come from.
    #[must_use]
    pub fn rights_touched_at(&self) -> i64 {
        self.rights.iter().map(|touched| *touched.borrow()).max().unwrap_or(0)
    }

    /// Waits until an event comes on a topic of the reader, or the feed ends.
    pub async fn changed(&mut self) {
        let waits = self.wakes.iter_mut().map(|wake| Box::pin(wake.changed()));
        let _ = futures::future::select_all(waits).await;
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.wakes.clear();
        self.rights.clear();
        let mut state = self.feed.lock();
        state.seats -= 1;
        let is_last = state.seats == 0;
        // Walking all topics for each reader that goes would cost the square of the readers.
        if is_last || state.topics.len() > 2 * (state.seats + 1) * 3 {
            state.topics.retain(|_, waiting| waiting.receiver_count() > 0);
        }
        if is_last {
            self.feed.idle.notify_one();
        }
    }
}
