//! Hands the events of a slice to the handler, and stores what came of them.

use std::sync::Arc;

use super::{FIRST_PAUSE, MAX_UNSTORED, STORE_EVERY, SUSPECTS, Shared, Trouble, Worker};
use crate::event_log::RecordedEvent;
use crate::event_log::shared_reader::Events;
use crate::ids::EventId;
use crate::subscribers::attempt::{self, Commit, Outcome};
use crate::subscribers::handler::{Failure, Work};
use crate::subscribers::slices::slice_of;
use crate::subscribers::store::{Begun, Mark, Parked};
use crate::subscribers::subscription::MAX_RANGE;

/// The most parked streams of a slice. With more, it is not single events that fail.
const MAX_PARKED: usize = 1_000;

impl Worker {
    fn is_wanted(&self, event: &RecordedEvent) -> bool {
        let Shared { filter, slices, .. } = &*self.shared;
        filter.selects(event)
            && slice_of(&event.stream, *slices) == self.held.slice
            && !self.handled.contains(&event.stream, event.position)
    }

    /// Hands out the next events that are wanted: several together, or one after trouble.
    pub(super) async fn hand_out(&mut self, events: &Events) -> Result<(), Trouble> {
        let is_careful = self.is_careful();
        let most = match &self.shared.work {
            _ if is_careful => 1,
            Work::Transaction(_) => MAX_RANGE,
            Work::Effects(_) => self.shared.limits.checkpoint_every,
        };
        let mut range: Vec<Arc<RecordedEvent>> = Vec::new();
        let mut end = (self.position, self.event_id);
        for event in events.as_slice() {
            let is_wanted = self.is_wanted(event) && !self.parked.contains_key(&event.stream);
            if is_wanted {
                range.push(event.clone());
            }
            end = (event.position, event.id);
            if range.len() >= most as usize {
                break;
            }
        }
        let Some(first) = range.first().cloned() else {
            (self.position, self.event_id) = end;
            if self.position - self.stored >= MAX_UNSTORED || self.stored_at.elapsed() >= STORE_EVERY {
                self.rest().await?;
            }
            return Ok(());
        };
        if self.attempts >= self.shared.limits.max_deliveries {
            let ended = "the process ended while it handled the event, or was about to";
            let failure = self.failure.clone().unwrap_or_else(|| ended.to_owned());
            return self.park(&first, &failure).await;
        }
        // If the process ends again, only the event that was handed out alone can be the cause.
        let alone = if is_careful && first.position <= self.suspect_until {
            Some(SUSPECTS.lock().await)
        } else {
            None
        };
        let deliveries = if is_careful { self.attempts + 1 } else { 0 };
        self.begin(Begun { in_doubt: !is_careful, deliveries }).await?;
        let call = self.call(self.attempts + 1);
        let outcome = match &self.shared.work {
            Work::Transaction(handler) => {
                let in_doubt = end.0 >= self.careful_until;
                let mark = Mark { position: end.0, event_id: end.1, in_doubt, before: self.stored };
                let commit = Commit::Slice(mark);
                let (session, thread) = (&mut self.session, &mut self.thread);
                attempt::in_transaction(&call, handler, range.clone(), commit, session, thread).await
            }
            Work::Effects(handler) => attempt::effects(&call, handler, range.clone(), &mut self.thread).await,
        };
        drop(alone);
        self.conclude(outcome, &range, end).await
    }

    /// Stores what came of a delivery.
    async fn conclude(
        &mut self,
        outcome: Outcome,
        range: &[Arc<RecordedEvent>],
        end: (i64, EventId),
    ) -> Result<(), Trouble> {
        let is_stored = matches!(self.shared.work, Work::Transaction(_));
        match outcome {
            Outcome::Done => {
                self.shared.handled_events.increment(range.len() as u64);
                (self.position, self.event_id) = end;
                self.attempts = 0;
                self.pause = FIRST_PAUSE;
                if is_stored {
                    self.remember_stored(self.position >= self.careful_until);
                    Ok(())
                } else {
                    self.store_handled().await
                }
            }
            Outcome::LeaseLost => Err(Trouble::LeaseLost),
            Outcome::Unavailable(reason) => Err(Trouble::Unavailable(reason)),
            Outcome::Failed(0, Failure::Event(_)) | Outcome::Died(0, _) if is_stored && range.len() > 1 => {
                // Nothing of the range is stored. One at a time it shows which event is the cause.
                self.careful_until = end.0;
                Ok(())
            }
            Outcome::Failed(number, failure) => {
                self.shared.failures.increment(1);
                self.store_before(number, range).await?;
                match (failure, range.get(number)) {
                    (failure @ Failure::Event(_), Some(event)) => {
                        let event = event.clone();
                        self.park(&event, &failure.to_string()).await
                    }
                    (failure, _) => {
                        let failure = failure.to_string();
                        // Told once, not at every try.
                        if self.failure.as_ref() != Some(&failure) {
                            tracing::warn!(
                                subscription = &*self.shared.store.name,
                                slice = self.held.slice,
                                failure,
                                "the handler is missing something that it depends on; the slice waits"
                            );
                        }
                        // The process has come through the call, so it says nothing against the event.
                        self.attempts = 0;
                        self.say(&failure).await?;
                        self.back_off().await;
                        Ok(())
                    }
                }
            }
            Outcome::Died(number, how) => {
                self.shared.failures.increment(1);
                self.store_before(number, range).await?;
                self.attempts += 1;
                tracing::warn!(
                    subscription = &*self.shared.store.name,
                    slice = self.held.slice,
                    attempt = self.attempts,
                    how,
                    position = range.get(number).map(|event| event.position),
                    "an event was not handled"
                );
                self.say(&how).await?;
                if self.attempts < self.shared.limits.max_deliveries {
                    self.back_off().await;
                }
                Ok(())
            }
        }
    }

    /// Stores the checkpoint after effects that were handled. They are not repeated while the database is away.
    async fn store_handled(&mut self) -> Result<(), Trouble> {
        loop {
            match self.store_place(true).await {
                // Also after the lease: if the slice has another holder, nothing is stored, and that is the answer.
                Err(Trouble::Unavailable(reason)) if !self.orders.borrow().stops => {
                    tracing::warn!(
                        subscription = &*self.shared.store.name,
                        slice = self.held.slice,
                        reason,
                        "a checkpoint could not be stored; trying again"
                    );
                    self.wait_for_database().await;
                }
                ended => {
                    self.pause = FIRST_PAUSE;
                    return ended;
                }
            }
        }
    }

    /// Stores that the events of a range before this one are handled.
    async fn store_before(&mut self, number: usize, range: &[Arc<RecordedEvent>]) -> Result<(), Trouble> {
        let Some(last) = number.checked_sub(1).and_then(|last| range.get(last)) else { return Ok(()) };
        self.shared.handled_events.increment(number as u64);
        (self.position, self.event_id) = (last.position, last.id);
        self.attempts = 0;
        self.store_handled().await
    }

    /// Parks the stream of an event, and goes on after the event.
    async fn park(&mut self, event: &RecordedEvent, failure: &str) -> Result<(), Trouble> {
        if self.parked.len() >= MAX_PARKED {
            return Err(Trouble::Blocked(format!(
                "{MAX_PARKED} streams of slice {} are parked; the next one fails with: {failure}",
                self.held.slice
            )));
        }
        let before = self.stored;
        let mark = Mark { position: event.position, event_id: event.id, in_doubt: false, before };
        let parked = Parked {
            stream: event.stream.clone(),
            after: event.position - 1,
            deliveries: self.attempts,
            is_released: false,
        };
        if !self.shared.store.park(self.held, (mark, self.epoch), &parked, failure).await? {
            return Err(Trouble::LeaseLost);
        }
        tracing::error!(
            subscription = &*self.shared.store.name, stream = %event.stream, position = event.position, failure,
            "an event cannot be handled; its stream is parked"
        );
        self.parked.insert(event.stream.clone(), parked);
        (self.position, self.event_id) = (event.position, event.id);
        self.attempts = 0;
        self.remember_stored(false);
        self.pause = FIRST_PAUSE;
        Ok(())
    }
}
