//! The committer's queue: the units that wait, which of them leave together, and the halves of refused batches. Pure:
//! it knows no connection.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::oneshot;

use crate::event_log::batch::{self, Waiting};
use crate::event_log::error::AppendError;
use crate::event_log::recent_writes::RecentWrites;
use crate::event_log::unit::{Appended, Unit};

/// How often a batch is sent in all, if a deadlock, a lock not granted, a moved fence or a replaced function stops it.
const MAX_RETRIES: u32 = 10;

/// How large a batch must be to be sent behind another: below that, one larger batch costs less than two.
pub(super) const MIN_PIPELINED: usize = 8;

/// How many batches are in flight at most; [`RecentWrites::expected_head`] relies on no more than one being ahead of
/// another.
const MAX_IN_FLIGHT: usize = 2;

/// A unit whose caller waits for its outcome.
pub(in crate::event_log) struct Pending {
    pub(super) unit: Arc<Unit>,
    answer: oneshot::Sender<Result<Appended, AppendError>>,
    retries: u32,
    /// Its batch has collided on a unique key: everything is to be looked up before it is stored.
    pub(super) full_checks: bool,
}

impl Pending {
    pub(in crate::event_log) fn new(
        unit: Unit,
        answer: oneshot::Sender<Result<Appended, AppendError>>,
    ) -> Self {
        Self { unit: Arc::new(unit), answer, retries: 0, full_checks: false }
    }

    /// Answers the caller, who may have stopped waiting: then the events are found in the log.
    pub(super) fn answer(self, outcome: Result<Appended, AppendError>) {
        drop(self.answer.send(outcome));
    }

    pub(super) fn is_abandoned(&self) -> bool {
        self.answer.is_closed()
    }
}

impl Waiting for Pending {
    fn unit(&self) -> &Unit {
        &self.unit
    }
}

/// The units that are waiting to be sent.
#[derive(Default)]
pub(super) struct Queue {
    units: VecDeque<Pending>,
    /// Halves of batches whose data the database refused, each to be tried alone.
    bisected: VecDeque<Vec<Pending>>,
    /// No queued unit can be sent now: each conflicts with a batch in flight or with the one just composed, or that one
    /// is full. Units that are pushed wait behind them.
    blocked: bool,
}

impl Queue {
    pub(super) fn len(&self) -> usize {
        self.units.len()
    }

    pub(super) fn push(&mut self, pending: Pending) {
        self.units.push_back(pending);
    }

    /// Puts units back at the front, in order.
    pub(super) fn requeue(&mut self, units: Vec<Pending>) {
        for pending in units.into_iter().rev() {
            self.units.push_front(pending);
        }
    }

    /// Like `requeue`, but refuses units that have been sent too often.
    pub(super) fn retry(&mut self, mut units: Vec<Pending>, too_often: &AppendError) {
        for pending in &mut units {
            pending.retries += 1;
        }
        let (given_up, rest) = units.into_iter().partition(|pending| pending.retries >= MAX_RETRIES);
        refuse::<Vec<_>>(given_up, too_often);
        self.requeue(rest);
    }

    /// Splits a batch whose data were refused, to find the unit at fault in few transactions.
    pub(super) fn bisect(&mut self, mut units: Vec<Pending>) {
        let second = units.split_off(units.len() / 2);
        // At the front, the first half first: units keep their order.
        self.bisected.push_front(second);
        self.bisected.push_front(units);
    }

    /// An in-flight batch has ended: what conflicted with it may leave.
    pub(super) fn unblock(&mut self) {
        self.blocked = false;
    }

    /// Refuses every unit that waits.
    pub(super) fn refuse_all(&mut self, error: &AppendError) {
        refuse(self.units.drain(..).chain(self.bisected.drain(..).flatten()), error);
    }

    /// Refuses the units whose decision rests on a guard that these stored units have bumped.
    pub(super) fn reject_stale(&mut self, stored: &[&Unit]) -> Vec<(Pending, AppendError)> {
        batch::reject_stale(&mut self.units, stored)
    }

    /// The next batch, if one is to be sent now.
    ///
    /// A batch that would wait behind another gains nothing by leaving early, and grows by staying: it leaves once it
    /// is as large as what is in flight.
    pub(super) fn next_batch(
        &mut self,
        in_flight: &[&[Pending]],
        recent: &RecentWrites,
    ) -> Option<Vec<Pending>> {
        // Halves were not composed against what is in flight now, so they wait until nothing is.
        if !self.bisected.is_empty() {
            return if in_flight.is_empty() { self.bisected.pop_front() } else { None };
        }
        if self.units.is_empty() || self.blocked || in_flight.len() == MAX_IN_FLIGHT {
            return None;
        }
        let ahead: usize = in_flight.iter().map(|batch| batch.len()).sum();
        if ahead > 0 && self.units.len() < ahead.max(MIN_PIPELINED) {
            return None;
        }
        // Not sent yet, and no caller waits for the outcome any more: they can be dropped.
        self.units.retain(|pending| !pending.is_abandoned());
        let mut batch = Vec::new();
        // All chosen units may turn out to have lost already; then the next ones are tried.
        while batch.is_empty() && !self.units.is_empty() {
            let sent = in_flight.iter().copied().flatten().map(Waiting::unit);
            let chosen = batch::compose(&mut self.units, sent);
            self.blocked =
                chosen.len() < batch::MAX_BATCH_UNITS && !self.units.is_empty() && !in_flight.is_empty();
            if chosen.is_empty() {
                break;
            }
            batch = reject_known_losers(chosen, recent);
        }
        (!batch.is_empty()).then_some(batch)
    }
}

/// Answers the units that are known to have lost: in the batch, they would cost all its units a second transaction.
fn reject_known_losers(units: Vec<Pending>, recent: &RecentWrites) -> Vec<Pending> {
    let mut rest = Vec::with_capacity(units.len());
    for pending in units {
        match recent.conflict_of(&pending.unit) {
            Some(error) => pending.answer(Err(error)),
            None => rest.push(pending),
        }
    }
    rest
}

/// Answers each of these units with the error.
pub(super) fn refuse<P: IntoIterator<Item = Pending>>(units: P, error: &AppendError) {
    for pending in units {
        pending.answer(Err(error.clone()));
    }
}

/// Answers the losers and gives the others, in order.
pub(super) fn without_losers(units: Vec<Pending>, losers: Vec<(usize, AppendError)>) -> Vec<Pending> {
    let mut losers: std::collections::HashMap<usize, AppendError> = losers.into_iter().collect();
    let mut rest = Vec::with_capacity(units.len());
    for (place, pending) in units.into_iter().enumerate() {
        match losers.remove(&place) {
            Some(error) => pending.answer(Err(error)),
            None => rest.push(pending),
        }
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event_log::batch::tests::{stream, writing};

    type Answer = oneshot::Receiver<Result<Appended, AppendError>>;

    fn pending(unit: Unit) -> (Pending, Answer) {
        let (answer, answered) = oneshot::channel();
        (Pending::new(unit, answer), answered)
    }

    /// A queue of units that each write a stream of their own.
    fn queue(count: u128) -> (Queue, Vec<Answer>) {
        let mut queue = Queue::default();
        let answers = (0..count).map(|id| {
            let (pending, answer) = pending(writing(id, 1));
            queue.push(pending);
            answer
        });
        let answers = answers.collect();
        (queue, answers)
    }

    #[test]
    fn a_second_batch_leaves_once_it_is_as_large_as_the_first_and_a_third_waits() {
        let recent = RecentWrites::new();
        let (mut waiting, _answers) = queue(20);
        let first = waiting.next_batch(&[], &recent).unwrap();
        assert_eq!(first.len(), 20);
        let mut kept = Vec::new();
        for id in 100..120 {
            let (pending, answer) = pending(writing(id, 1));
            waiting.push(pending);
            kept.push(answer);
            if id < 119 {
                assert!(waiting.next_batch(&[&first], &recent).is_none(), "smaller than the first");
            }
        }
        let second = waiting.next_batch(&[&first], &recent).unwrap();
        assert_eq!(second.len(), 20);
        let (mut more, _more) = queue(50);
        assert!(more.next_batch(&[&first, &second], &recent).is_none());
    }

    #[test]
    fn a_unit_whose_caller_has_gone_is_not_sent() {
        let (mut waiting, mut answers) = queue(2);
        drop(answers.remove(0));
        let batch = waiting.next_batch(&[], &RecentWrites::new()).unwrap();
        assert_eq!(batch.len(), 1);
        assert_eq!(batch[0].unit.events[0].stream, stream(1));
    }

    #[test]
    fn what_conflicts_with_a_batch_in_flight_waits_for_its_end() {
        let recent = RecentWrites::new();
        let (mut waiting, _answers) = queue(1);
        let first = waiting.next_batch(&[], &recent).unwrap();
        let mut kept = Vec::new();
        for _ in 0..MIN_PIPELINED {
            let (pending, answer) = pending(writing(0, 2));
            waiting.push(pending);
            kept.push(answer);
        }
        assert!(waiting.next_batch(&[&first], &recent).is_none());
        waiting.unblock();
        assert_eq!(waiting.next_batch(&[], &recent).unwrap().len(), 1, "one writer of a stream at a time");
    }

    #[test]
    fn halves_of_a_refused_batch_go_alone_and_in_order() {
        let recent = RecentWrites::new();
        let (mut waiting, _answers) = queue(4);
        let batch = waiting.next_batch(&[], &recent).unwrap();
        waiting.bisect(batch);
        let (other, _answer) = pending(writing(9, 1));
        waiting.push(other);
        let first = waiting.next_batch(&[], &recent).unwrap();
        assert_eq!(
            first.iter().map(|sent| &sent.unit.events[0].stream).collect::<Vec<_>>(),
            [&stream(0), &stream(1)]
        );
        assert!(waiting.next_batch(&[&first], &recent).is_none(), "not beside another");
        let second = waiting.next_batch(&[], &recent).unwrap();
        assert_eq!(second[0].unit.events[0].stream, stream(2));
        assert_eq!(waiting.next_batch(&[], &recent).unwrap()[0].unit.events[0].stream, stream(9));
    }

    #[test]
    fn a_unit_is_sent_again_so_often_and_no_more() {
        let (mut waiting, mut answers) = queue(1);
        let recent = RecentWrites::new();
        for retry in 1..=MAX_RETRIES {
            let batch = waiting.next_batch(&[], &recent).unwrap();
            waiting.retry(batch, &AppendError::Busy);
            assert_eq!(answers[0].try_recv().is_ok(), retry == MAX_RETRIES);
        }
        assert_eq!(waiting.len(), 0);
    }

    #[test]
    fn a_unit_that_is_known_to_have_lost_never_enters_a_batch() {
        let mut recent = RecentWrites::new();
        recent.stored(0, [&writing(0, 1)]);
        let (mut waiting, mut answers) = queue(2);
        let batch = waiting.next_batch(&[], &recent).unwrap();
        assert_eq!(batch.len(), 1);
        assert_eq!(answers[0].try_recv().unwrap().unwrap_err(), AppendError::Conflict { stream: stream(0) });
    }
}
