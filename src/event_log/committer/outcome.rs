//! What the committer does with the outcome of a batch.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::timeout;

use super::Committer;
use super::queue::{Pending, refuse, without_losers};
use crate::clock::Timestamp;
use crate::event_log::batch::{FirstOrdinals, Waiting};
use crate::event_log::checkpoint::Checkpoint;
use crate::event_log::error::AppendError;
use crate::event_log::event::EventHeader;
use crate::event_log::transaction::{BatchError, Stored};
use crate::event_log::unit::{Appended, Unit};
use crate::ids::EventId;
use crate::postgres::STATEMENT_TIMEOUT;

impl Committer {
    /// Answers the units of a batch, or sees to it that they are sent again.
    pub(super) async fn handle_outcome(&mut self, units: Vec<Pending>, outcome: Result<Stored, BatchError>) {
        // A lost connection takes the batch behind this one with it, so that there may be two to handle.
        let mut ended = VecDeque::from([(units, outcome)]);
        while let Some((units, outcome)) = ended.pop_front() {
            match outcome {
                Ok(stored) if self.counts(&units, &stored) => self.answer(units, stored),
                // This node has left that server since: only what its successor has counts.
                Ok(_) => {
                    let reason = "the batch was stored on a server that this node has left".to_owned();
                    self.handle_error(units, BatchError::Unknown(reason), &mut ended).await;
                }
                Err(error) => self.handle_error(units, error, &mut ended).await,
            }
        }
    }

    async fn handle_error(
        &mut self,
        mut units: Vec<Pending>,
        error: BatchError,
        ended: &mut VecDeque<(Vec<Pending>, Result<Stored, BatchError>)>,
    ) {
        match error {
            BatchError::Contested(losers) => {
                // The other units have not lost: they are sent again without the losers.
                let rest = without_losers(units, losers);
                self.queue.requeue(rest);
            }
            BatchError::Collided => {
                // A unique key names one collision and not its unit; with everything looked up first, all losers are
                // found.
                for pending in &mut units {
                    pending.full_checks = true;
                }
                self.queue.requeue(units);
            }
            // What was left out of it is looked up when it is sent again.
            BatchError::HeadMoved => self.queue.requeue(units),
            BatchError::FenceMoved => {
                let endless = AppendError::Unavailable("the fence keeps moving".to_owned());
                self.queue.retry(units, &endless);
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
                self.queue.retry(units, &AppendError::Unavailable(reason));
            }
            BatchError::Replaced(reason) => {
                // Prepared statements still name the old functions and types; a new session prepares them again.
                tracing::warn!(reason, "a batch is prepared again");
                self.session = None;
                self.queue.retry(units, &AppendError::Unavailable(reason));
            }
            BatchError::Superseded(set) => {
                self.session = None;
                refuse(units, &AppendError::Superseded(set));
            }
            BatchError::EpochChanged => {
                // Opening the connection again takes this node to the new epoch.
                self.session = None;
                self.queue.requeue(units);
            }
            BatchError::ClockOff => self.handle_clock(units).await,
            BatchError::Data(code) if units.len() == 1 => {
                tracing::error!(code, "the database refuses the data of a unit");
                refuse(units, &AppendError::Refused { code });
            }
            BatchError::Data(_) => self.queue.bisect(units),
            BatchError::Unavailable(reason) => {
                self.session = None;
                tracing::error!(reason, "the event log cannot be written to");
                refuse(units, &AppendError::Unavailable(reason));
            }
            BatchError::Unknown(reason) => {
                tracing::warn!(reason, "the connection was lost while committing");
                // The batch behind it cannot be answered either: it must not wait until its own timeout.
                if let Some(session) = self.session.take() {
                    session.cut();
                }
                while let Some(mut behind) = self.in_flight.pop_front() {
                    let outcome = behind.outcome().await;
                    ended.push_back((behind.units, outcome));
                }
                match self.find_out_whether_stored(&units).await {
                    // First, as the oldest, and only if the node is still on the server that has it.
                    Some(stored) => ended.push_front((units, Ok(stored))),
                    None => self.queue.requeue(units),
                }
            }
        }
    }

    /// Refuses a batch because of this machine's clock only if the clock is still off when measured again.
    async fn handle_clock(&mut self, units: Vec<Pending>) {
        let bound = self.clock.max_offset().unwrap_or(Duration::MAX).as_secs_f64();
        match self.clock_offset().await.filter(|offset| offset.abs() > bound) {
            Some(offset) => {
                let error = AppendError::clock(offset);
                tracing::error!(%error, "nothing can be stored");
                refuse(units, &error);
            }
            // The batch was late, not the clock: it waited behind another batch, or the server stood still.
            None => {
                self.queue.retry(units, &AppendError::Unavailable("the database is too slow".to_owned()));
            }
        }
    }

    /// By how many seconds this machine's clock differs from the server's, if that can be found out.
    fn clock_offset(&self) -> impl Future<Output = Option<f64>> + use<> {
        let (session, clock) = (self.session.clone(), self.clock.clone());
        async move { timeout(STATEMENT_TIMEOUT, session?.clock_offset(&*clock)).await.ok()?.ok() }
    }

    /// Whether a stored batch counts: not if this node has left the server that has it. If it counts, no read of this node may answer
    /// without its events from now on, before any caller hears of it.
    fn counts(&self, batch: &[Pending], stored: &Stored) -> bool {
        let events: usize = batch.iter().map(|pending| pending.unit.events.len()).sum();
        let newest = stored.base + i64::try_from(events).unwrap_or(0);
        let last = batch.last().and_then(|pending| pending.unit.events.last());
        let id = last.map_or(EventId::NIL, |event| event.id);
        self.seen.advance(stored.server, stored.epoch, newest, id)
    }

    /// Answers the callers of a stored batch with the places of their events, wakes the followers, and refuses queued
    /// units that have become stale.
    pub(super) fn answer(&mut self, batch: Vec<Pending>, stored: Stored) {
        let units: Vec<&Unit> = batch.iter().map(Waiting::unit).collect();
        self.recent.stored(stored.base, units.iter().copied());
        self.drain_submissions();
        let stale = self.queue.reject_stale(&units);
        let ordinals = FirstOrdinals::of(units.iter().copied());
        let events: usize = units.iter().map(|unit| unit.events.len()).sum();
        let headers = EventHeader::from_position(stored.base + 1, units.iter().flat_map(|unit| &unit.events));
        self.own_appends.keep(stored.epoch, headers);
        self.commits.increment(1);
        self.events.increment(events as u64);
        #[allow(clippy::cast_precision_loss)]
        self.batch_units.record(units.len() as f64);
        for (place, pending) in batch.into_iter().enumerate() {
            let first = ordinals.of_unit(place);
            let events = &pending.unit.events;
            let count = i64::try_from(events.len()).unwrap_or(1);
            let appended = Appended {
                first: stored.base + first,
                last: Checkpoint {
                    log_id: self.seen.log_id(),
                    epoch: stored.epoch,
                    position: stored.base + first + count - 1,
                    event_id: events.last().map_or(EventId::NIL, |event| event.id),
                },
                recorded_from: Timestamp::from_micros(stored.recorded_from.as_micros() + first - 1),
            };
            pending.answer(Ok(appended));
        }
        for (pending, error) in stale {
            pending.answer(Err(error));
        }
        // After the callers, who can send their next commands while the followers read.
        self.seen.wake_followers();
    }
}
