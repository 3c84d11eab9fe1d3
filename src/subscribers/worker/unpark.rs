//! Handles the events of streams that an operator has unparked.

use std::sync::Arc;

use super::{SUSPECTS, Shared, Trouble, Worker};
use crate::event_log::read::Filter;
use crate::event_log::{ReadError, RecordedEvent};
use crate::subscribers::attempt::{self, Commit, Outcome};
use crate::subscribers::handler::{Failure, Work};
use crate::subscribers::store::Parked;

/// How many events of an unparked stream are read at a time.
const PARKED_PAGE: i64 = 100;

/// How many of them are handled before the slice goes on with other events.
const PARKED_AT_ONCE: usize = 20;

/// What came of an event of an unparked stream.
enum Tried {
    /// It was handled, or this is why its stream is parked again.
    Handled(Option<String>),
    /// A dependency is missing; it is tried again.
    Waits,
}

impl Worker {
    /// Handles the next events of a stream that an operator has unparked.
    pub(super) async fn step_of_parked(&mut self, parked: Parked) -> Result<(), Trouble> {
        let waiting = self.waiting(&parked).await?;
        if waiting.is_empty() {
            // The place first: with the row gone, no event before it may come again.
            if self.stored != self.position {
                self.store_place(false).await?;
            }
            self.shared.store.unparked(self.held, &parked.stream).await?;
            self.parked.remove(&parked.stream);
            return Ok(());
        }
        let mut parked = parked;
        for event in waiting {
            let Tried::Handled(failure) = self.try_parked(&mut parked, &event).await? else {
                self.parked.insert(parked.stream.clone(), parked);
                return Ok(());
            };
            parked.is_released = failure.is_none();
            self.parked.insert(parked.stream.clone(), parked.clone());
            if let Some(failure) = failure {
                if !self.shared.store.park_again(self.held, &parked.stream, &failure).await? {
                    return self.read_parked().await;
                }
                break;
            }
        }
        Ok(())
    }

    /// The first events of a parked stream that wait: those that are not handed out with all others any more.
    async fn waiting(&self, parked: &Parked) -> Result<Vec<Arc<RecordedEvent>>, Trouble> {
        let filter = Filter { stream: Some(parked.stream.clone()), ..Filter::default() };
        let mut after = parked.after;
        loop {
            let page = self.shared.log.read_page(after, &filter, PARKED_PAGE).await?;
            if page.epoch != 0 && page.epoch != self.epoch {
                return Err(Trouble::Unavailable("positions have a new epoch".to_owned()));
            }
            let is_last = page.next.is_none();
            let is_before = |event: &RecordedEvent| {
                event.position <= self.position || self.handled.contains(&event.stream, event.position)
            };
            let before: Vec<_> = page.events.into_iter().take_while(is_before).collect();
            let Some(last) = before.last().map(|event| event.position) else { return Ok(Vec::new()) };
            // Not `is_wanted`: what earlier versions have passed over because the stream was parked is not handled.
            let wanted = before.into_iter().filter(|event| self.shared.filter.selects(event));
            let wanted = wanted.take(PARKED_AT_ONCE);
            let wanted: Vec<_> = wanted.map(Arc::new).collect();
            if is_last || !wanted.is_empty() {
                return Ok(wanted);
            }
            after = last;
        }
    }

    /// Delivers an event of an unparked stream.
    async fn try_parked(
        &mut self,
        parked: &mut Parked,
        event: &Arc<RecordedEvent>,
    ) -> Result<Tried, Trouble> {
        if parked.deliveries >= self.shared.limits.max_deliveries {
            return Ok(Tried::Handled(Some("the process ended while it handled the event".to_owned())));
        }
        parked.deliveries += 1;
        let store = self.shared.store.clone();
        if !store.count_parked(self.held, &parked.stream, parked.deliveries).await? {
            return Err(Trouble::LeaseLost);
        }
        let outcome = self.deliver_parked(parked, event).await;
        self.parked_waits = false;
        match outcome {
            Outcome::Done => {
                if matches!(self.shared.work, Work::Effects(_)) {
                    self.store_parked(event).await?;
                }
                self.shared.handled_events.increment(1);
                (parked.after, parked.deliveries) = (event.position, 0);
                Ok(Tried::Handled(None))
            }
            Outcome::LeaseLost => Err(Trouble::LeaseLost),
            Outcome::Unavailable(reason) => {
                // Nothing of this is the event's fault. If the count cannot be taken back, it stays.
                parked.deliveries -= 1;
                let _ = store.count_parked(self.held, &parked.stream, parked.deliveries).await;
                Err(Trouble::Unavailable(reason))
            }
            Outcome::Failed(_, failure @ Failure::Dependency(_)) => {
                parked.deliveries = 0;
                store.count_parked(self.held, &parked.stream, 0).await?;
                self.say(&failure.to_string()).await?;
                self.parked_waits = true;
                self.back_off().await;
                Ok(Tried::Waits)
            }
            Outcome::Failed(_, failure) => Ok(Tried::Handled(Some(failure.to_string()))),
            Outcome::Died(_, how) => Ok(Tried::Handled(Some(how))),
        }
    }

    async fn deliver_parked(&mut self, parked: &Parked, event: &Arc<RecordedEvent>) -> Outcome {
        let call = self.call(parked.deliveries);
        let _alone = if parked.deliveries > 1 { Some(SUSPECTS.lock().await) } else { None };
        let events = vec![event.clone()];
        match &self.shared.work {
            Work::Transaction(handler) => {
                let commit = Commit::Parked(event.stream.clone(), event.position);
                let (session, thread) = (&mut self.session, &mut self.thread);
                attempt::in_transaction(&call, handler, events, commit, session, thread).await
            }
            Work::Effects(handler) => attempt::effects(&call, handler, events, &mut self.thread).await,
        }
    }

    /// Stores that an event of an unparked stream is handled, as soon as the database is available.
    async fn store_parked(&mut self, event: &RecordedEvent) -> Result<(), Trouble> {
        let Shared { store, .. } = &*self.shared.clone();
        loop {
            match store.advance_parked(self.held, self.epoch, &event.stream, event.position).await {
                Ok(true) => return Ok(()),
                Ok(false) => return Err(Trouble::LeaseLost),
                Err(ReadError::Unavailable(_)) if !self.orders.borrow().stops => {
                    self.wait_for_database().await;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}
