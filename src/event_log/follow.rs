//! Followers: readers that get every position once, in order, and are woken by each commit.

use std::marker::PhantomData;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

use super::checkpoint::Checkpoint;
use super::error::{PrimaryError, ReadError};
use super::event::{EventHeader, FromLog, RecordedEvent};
use super::log::EventLog;
use super::own_appends::Next;
use super::page::{PAGE, contiguous};
use crate::ids::EventId;

/// How long a follower sleeps if nothing wakes it. NOTIFY is only a hint and may be missed, so it polls as well.
const POLL: Duration = Duration::from_millis(500);

/// Reads the log forward from a place.
pub struct Follower<E = RecordedEvent> {
    log: EventLog,
    wake: watch::Receiver<i64>,
    /// The last event given; its identifier is nil while it is unknown.
    place: Checkpoint,
    reads: PhantomData<fn() -> E>,
}

impl EventLog {
    /// Follows the log after a position of the node's present epoch; the first event given has the next position. For a
    /// position that was kept, use [`EventLog::resume`]: it may belong to another log or epoch.
    #[must_use]
    pub fn follow(&self, after: i64) -> Follower {
        let epoch = self.seen().get().epoch;
        let event_id = EventId::NIL;
        let place = Checkpoint { log_id: self.log_id(), epoch, position: after, event_id };
        self.follower(place)
    }

    /// Follows the log after the newest event that this node has seen, without reading payloads.
    #[must_use]
    pub fn follow_headers(&self) -> Follower<EventHeader> {
        self.follower(self.seen().checkpoint())
    }

    fn follower<E>(&self, place: Checkpoint) -> Follower<E> {
        Follower { log: self.clone(), wake: self.wake_ups(), place, reads: PhantomData }
    }

    /// Resumes from a place that was kept, perhaps by another process.
    ///
    /// # Errors
    /// [`ReadError::AnotherLog`], [`ReadError::LogReplaced`] or [`ReadError::BeyondHead`] if the place is not in the
    /// log as it is now, or the log cannot be read.
    pub async fn resume(&self, from: &Checkpoint) -> Result<Follower, ReadError> {
        if from.log_id != self.log_id() {
            return Err(ReadError::AnotherLog { from: *from, found: self.log_id() });
        }
        // Errors name the checkpoint that the caller gave, with its event.
        let place = self.place(from.token()).await.map_err(|error| match error {
            ReadError::LogReplaced { epoch, .. } => ReadError::LogReplaced { from: *from, epoch },
            ReadError::BeyondHead { newest, .. } => ReadError::BeyondHead { from: *from, newest },
            error => error,
        })?;
        if from.position > 0 && place.event_id != from.event_id {
            return Err(ReadError::LogReplaced { from: *from, epoch: place.epoch });
        }
        Ok(self.follower(place))
    }
}

impl<E: FromLog> Follower<E> {
    /// The position of the last event given.
    #[must_use]
    pub const fn position(&self) -> i64 {
        self.place.position
    }

    /// The place of the last event given; pass it to [`EventLog::resume`] to continue from there.
    #[must_use]
    pub const fn checkpoint(&self) -> Checkpoint {
        self.place
    }

    /// How many events that this node has seen the follower has not given yet.
    #[must_use]
    pub fn behind(&self) -> i64 {
        (*self.wake.borrow() - self.place.position).max(0)
    }

    /// Returns the next events, at least one; waits until there are some.
    ///
    /// # Errors
    /// [`ReadError::Unavailable`]: the log cannot be read; call again, no event is skipped. [`ReadError::LogReplaced`]:
    /// the place belongs to an earlier epoch. [`ReadError::BeyondHead`]: the place does not exist. [`ReadError::Gap`]:
    /// positions are missing.
    pub async fn next(&mut self) -> Result<Vec<E>, ReadError> {
        loop {
            // Before the read: a commit during the read then wakes this follower at once.
            self.wake.borrow_and_update();
            let page = match self.written_here().await {
                Some(page) => page,
                None => self.page().await?,
            };
            if let Some(last) = page.last() {
                (self.place.position, self.place.event_id) = (last.position(), last.id());
                return Ok(page);
            }
            let changed = self.wake.changed();
            // If the channel is closed, nothing wakes this follower any more; polling continues.
            let _ = timeout(POLL, changed).await;
        }
    }

    /// The next events, if this node has just written them and the reader needs only their headers.
    async fn written_here(&mut self) -> Option<Vec<E>> {
        if !E::IS_HEADER {
            return None;
        }
        let Checkpoint { epoch, position, .. } = self.place;
        let log = self.log.clone();
        let mut next = log.own_appends().take_after(epoch, position);
        if next == Next::Announced {
            // Any newer event is of this append, or has taken its place. If the commit takes long, the log is read: it may be on
            // another server by now.
            let _ = timeout(POLL, self.wake.wait_for(|newest| *newest > position)).await;
            next = log.own_appends().take_after(epoch, position);
        }
        if let Next::Stored(headers) = next { E::of_headers(headers) } else { None }
    }

    /// Reads the next page, and in the same statement the event at the follower's own place: it shows whether the log
    /// still has what was read before.
    async fn page(&mut self) -> Result<Vec<E>, ReadError> {
        let sql = format!(
            "select own.event_id, e.*
             from (select (select event_id from log.event where position = $1)) own
             left join lateral (select {} from log.event where position > $1 order by position limit $2) e on true",
            E::COLUMNS
        );
        let answer = self.log.primary().query(&sql, &[&self.place.position, &PAGE]).await?;
        if answer.epoch != self.place.epoch {
            return Err(ReadError::LogReplaced { from: self.place, epoch: answer.epoch });
        }
        let found: Option<EventId> = answer.rows.first().map_or(Ok(None), |row| row.try_get(0))?;
        self.same_event(found, answer.position)?;
        let mut events = Vec::with_capacity(answer.rows.len());
        for row in &answer.rows {
            if row.try_get::<_, Option<i64>>(1)?.is_some() {
                events.push(E::from_row_after(row, 1)?);
            }
        }
        contiguous(self.place.position, &events)?;
        Ok(events)
    }

    /// Compares the event at the follower's own place, or records it if it was unknown.
    fn same_event(&mut self, found: Option<EventId>, newest: i64) -> Result<(), ReadError> {
        let Checkpoint { position, event_id, .. } = self.place;
        if position == 0 || found == Some(event_id) {
            return Ok(());
        }
        match found {
            Some(found) if event_id == EventId::NIL => {
                self.place.event_id = found;
                Ok(())
            }
            // Waiting for that position would skip the events before it.
            None if event_id == EventId::NIL => Err(ReadError::BeyondHead { from: self.place, newest }),
            _ => {
                // The next connection is checked for this event when it is opened.
                self.log.primary().discard_connection();
                Err(PrimaryError::LostEvents { position, event_id }.into())
            }
        }
    }
}
