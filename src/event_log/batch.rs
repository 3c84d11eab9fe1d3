//! Decides which queued units share a transaction; pure, no I/O.

use std::collections::VecDeque;

use foldhash::HashSet;
use uuid::Uuid;

use super::claim::{ClaimChange, ClaimKey};
use super::error::AppendError;
use super::event::StreamId;
use super::unit::Unit;

/// Maximum number of units per transaction.
pub const MAX_BATCH_UNITS: usize = 256;

/// Maximum bytes of units per transaction; a larger unit is sent in a transaction of its own.
const MAX_BATCH_BYTES: usize = 8 * 1024 * 1024;

/// A queue entry: a unit plus whatever the queue's owner keeps with it.
pub trait Waiting {
    /// The unit to be stored.
    fn unit(&self) -> &Unit;
}

/// Everything that a set of units reads and writes.
#[derive(Default)]
struct Touched<'a> {
    read: HashSet<&'a StreamId>,
    written: HashSet<&'a StreamId>,
    guards_read: HashSet<&'a str>,
    guards_bumped: HashSet<&'a str>,
    accounts_read: HashSet<Uuid>,
    accounts_written: HashSet<Uuid>,
    claims: HashSet<&'a ClaimKey>,
    requests: HashSet<&'a [u8; 32]>,
}

impl<'a> Touched<'a> {
    /// Whether a unit conflicts with none of these: what one unit writes, no other may read or write. Several units may
    /// read the same stream or bump the same guard.
    fn admits(&self, unit: &'a Unit) -> bool {
        unit.streams_written().all(|stream| !self.read.contains(stream) && !self.written.contains(stream))
            && unit.premises.streams.iter().all(|read| !self.written.contains(&read.stream))
            && unit.premises.guards.iter().all(|(guard, _)| !self.guards_bumped.contains(guard.as_str()))
            && unit.bumps.iter().all(|guard| !self.guards_read.contains(guard.as_str()))
            && unit.premises.accounts.iter().all(|(account, _)| !self.accounts_written.contains(account))
            // `accounts_written` walks all events of the unit, which is needless if no unit has read an account.
            && (self.accounts_read.is_empty()
                || unit.accounts_written().all(|account| !self.accounts_read.contains(&account)))
            && unit.claims.iter().all(|(_, change)| !self.claims.contains(key_of(change)))
            && unit.idempotency.iter().all(|record| !self.requests.contains(&record.request))
    }

    fn add(&mut self, unit: &'a Unit) {
        self.written.extend(unit.streams_written());
        self.read.extend(unit.premises.streams.iter().map(|read| &read.stream));
        self.guards_read.extend(unit.premises.guards.iter().map(|(guard, _)| guard.as_str()));
        self.guards_bumped.extend(unit.bumps.iter().map(String::as_str));
        self.accounts_read.extend(unit.premises.accounts.iter().map(|(account, _)| *account));
        self.accounts_written.extend(unit.accounts_written());
        self.claims.extend(unit.claims.iter().map(|(_, change)| key_of(change)));
        self.requests.extend(unit.idempotency.iter().map(|record| &record.request));
    }
}

const fn key_of(change: &ClaimChange) -> &ClaimKey {
    match change {
        ClaimChange::Take(claim) => &claim.key,
        ClaimChange::Release { key, .. } => key,
    }
}

/// Takes the next batch from the queue, oldest first; units that are not taken keep their place.
///
/// A unit that conflicts with an in-flight batch waits. Later units that conflict with a waiting unit also wait, so
/// that steady readers cannot starve a writer.
pub fn compose<'u, W: Waiting>(
    queue: &mut VecDeque<W>,
    in_flight: impl IntoIterator<Item = &'u Unit>,
) -> Vec<W> {
    let mut chosen = Vec::new();
    {
        let (mut touched, mut waiting_for) = (Touched::default(), Touched::default());
        // A batch in flight may still fail; no other batch may depend on its outcome.
        for unit in in_flight {
            touched.add(unit);
        }
        let (mut bytes, mut any_waits) = (0, false);
        for (place, waiting) in queue.iter().enumerate() {
            let unit = waiting.unit();
            let size = unit.size_bytes();
            // Stops at the first unit that does not fit: taking smaller ones behind it could starve a large unit.
            if chosen.len() == MAX_BATCH_UNITS || (!chosen.is_empty() && bytes + size > MAX_BATCH_BYTES) {
                break;
            }
            if touched.admits(unit) && (!any_waits || waiting_for.admits(unit)) {
                touched.add(unit);
                bytes += size;
                chosen.push(place);
            } else {
                waiting_for.add(unit);
                any_waits = true;
            }
        }
    }
    // One pass over the queue: removing units one by one would shift the rest each time.
    let mut chosen = chosen.into_iter().peekable();
    let (mut batch, mut rest) = (Vec::new(), VecDeque::with_capacity(queue.len()));
    for (place, waiting) in queue.drain(..).enumerate() {
        if chosen.next_if_eq(&place).is_some() {
            batch.push(waiting);
        } else {
            rest.push_back(waiting);
        }
    }
    *queue = rest;
    batch
}

/// The ordinal within the batch of the event at index `event` of a unit whose first event has ordinal `first`.
#[must_use]
pub fn ordinal(first: i64, event: usize) -> i64 {
    // Unreachable, since a unit is bounded in events; half the range, so that the sum could not overflow.
    first + i64::try_from(event).unwrap_or(i64::MAX / 2)
}

/// For each unit of a batch, the ordinal of its first event; the batch's first event has ordinal 1.
///
/// Positions are not known before the head row is locked, so a batch is sent with ordinals and SQL adds the base.
pub struct FirstOrdinals(Vec<i64>);

impl FirstOrdinals {
    /// Numbers the events of these units, in order.
    pub fn of<'a>(units: impl IntoIterator<Item = &'a Unit>) -> Self {
        let mut next = 1;
        Self(
            units
                .into_iter()
                .map(|unit| {
                    let first = next;
                    next = ordinal(next, unit.events.len());
                    first
                })
                .collect(),
        )
    }

    /// The ordinal of the first event of the unit at this index of the batch.
    #[must_use]
    pub fn of_unit(&self, place: usize) -> i64 {
        self.0.get(place).copied().unwrap_or(1)
    }
}

/// Removes the units whose decision rests on a guard that the stored units have bumped.
///
/// Streams and accounts that have changed are found later, by `RecentWrites::conflict_of`.
pub fn reject_stale<W: Waiting>(queue: &mut VecDeque<W>, stored: &[&Unit]) -> Vec<(W, AppendError)> {
    // Without a reader of guards, the stored units need not be scanned.
    if queue.iter().all(|waiting| waiting.unit().premises.guards.is_empty()) {
        return Vec::new();
    }
    let bumped: HashSet<&str> =
        stored.iter().flat_map(|unit| unit.bumps.iter().map(String::as_str)).collect();
    let mut rejected = Vec::new();
    for waiting in std::mem::take(queue) {
        let moved = waiting.unit().premises.guards.iter().find(|(guard, _)| bumped.contains(guard.as_str()));
        match moved {
            Some((guard, _)) => {
                let error = AppendError::GuardMoved { guard: guard.clone() };
                rejected.push((waiting, error));
            }
            None => queue.push_back(waiting),
        }
    }
    rejected
}

#[cfg(test)]
pub(super) mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::event_log::claim::Claim;
    use crate::event_log::event::NewEvent;
    use crate::event_log::unit::{Premises, StreamRead};
    use crate::ids::EventId;

    #[derive(Clone)]
    struct Queued(&'static str, Unit);

    impl Waiting for Queued {
        fn unit(&self) -> &Unit {
            &self.1
        }
    }

    pub fn stream(id: u128) -> StreamId {
        StreamId::new("thing", Uuid::from_u128(id))
    }

    pub fn writing(id: u128, version: i64) -> Unit {
        let event = NewEvent {
            id: EventId::NIL,
            stream: stream(id),
            version,
            event_type: "thing.done".into(),
            event_version: "1".into(),
            account_id: None,
            payload: Bytes::new(),
            metadata: Bytes::new(),
            sealed: None,
        };
        Unit {
            premises: Premises::of_stream(stream(id), version - 1),
            events: vec![event],
            ..Unit::default()
        }
    }

    fn reading(id: u128, version: i64, mut unit: Unit) -> Unit {
        unit.premises.streams.push(StreamRead { stream: stream(id), version, seen: 0 });
        unit
    }

    fn names(batch: &[Queued]) -> Vec<&'static str> {
        batch.iter().map(|queued| queued.0).collect()
    }

    #[test]
    fn units_on_different_streams_share_a_batch_and_readers_may_share_a_stream() {
        let mut queue = VecDeque::from([
            Queued("a", reading(9, 1, writing(1, 1))),
            Queued("b", reading(9, 1, writing(2, 1))),
        ]);
        assert_eq!(names(&compose(&mut queue, [])), ["a", "b"]);
        assert!(queue.is_empty());
    }

    #[test]
    fn a_stream_that_one_unit_writes_is_neither_read_nor_written_by_another() {
        let mut queue = VecDeque::from([
            Queued("writer", writing(1, 1)),
            Queued("other writer", writing(1, 1)),
            Queued("reader", reading(1, 0, writing(2, 1))),
            Queued("stranger", writing(3, 1)),
        ]);
        assert_eq!(names(&compose(&mut queue, [])), ["writer", "stranger"]);
        assert_eq!(names(queue.make_contiguous()), ["other writer", "reader"]);
    }

    #[test]
    fn a_writer_waits_for_readers_that_came_before_it() {
        let mut queue =
            VecDeque::from([Queued("reader", reading(1, 0, writing(2, 1))), Queued("writer", writing(1, 1))]);
        assert_eq!(names(&compose(&mut queue, [])), ["reader"]);
    }

    #[test]
    fn what_is_under_way_is_not_touched_and_readers_do_not_pass_a_waiting_writer() {
        let in_flight = reading(1, 0, writing(9, 1));
        let mut queue = VecDeque::from([
            Queued("writer", writing(1, 1)),
            Queued("later reader", reading(1, 0, writing(2, 1))),
            Queued("stranger", writing(3, 1)),
        ]);
        assert_eq!(names(&compose(&mut queue, [&in_flight])), ["stranger"]);
        assert_eq!(names(&compose(&mut queue, [])), ["writer"]);
        assert_eq!(names(queue.make_contiguous()), ["later reader"]);
    }

    #[test]
    fn a_claim_is_touched_by_one_unit_of_a_batch() {
        let key = ClaimKey { kind: "name", key: [1; 32] };
        let take = |id| {
            let claim = Claim::until_released(key.clone(), format!("{id}"));
            Unit { claims: vec![(0, ClaimChange::Take(claim))], ..writing(id, 1) }
        };
        let mut queue = VecDeque::from([Queued("first", take(1)), Queued("second", take(2))]);
        assert_eq!(names(&compose(&mut queue, [])), ["first"]);
    }

    #[test]
    fn guards_are_bumped_together_and_never_beside_a_reader() {
        let bump = |id| Unit { bumps: vec!["set".into()], ..writing(id, 1) };
        let read = |id| {
            let mut unit = writing(id, 1);
            unit.premises.guards.push(("set".into(), 0));
            unit
        };
        let mut queue =
            VecDeque::from([Queued("bump", bump(1)), Queued("bump too", bump(2)), Queued("read", read(3))]);
        assert_eq!(names(&compose(&mut queue, [])), ["bump", "bump too"]);
    }

    #[test]
    fn what_an_account_has_is_read_beside_no_event_of_that_account() {
        let of = |account, mut unit: Unit| {
            unit.events[0].account_id = Some(Uuid::from_u128(account));
            unit
        };
        let reading = |account, mut unit: Unit| {
            unit.premises.accounts.push((Uuid::from_u128(account), 0));
            unit
        };
        let mut queue = VecDeque::from([
            Queued("reads and writes", reading(1, of(1, writing(1, 1)))),
            Queued("writes", of(1, writing(2, 1))),
            Queued("reads", reading(1, writing(3, 1))),
            Queued("another account", reading(2, of(2, writing(4, 1)))),
        ]);
        let first = compose(&mut queue, []);
        assert_eq!(names(&first), ["reads and writes", "another account"]);
        assert_eq!(names(&compose(&mut queue, [])), ["writes"]);
    }

    #[test]
    fn a_decision_on_a_guard_that_has_moved_never_enters_a_batch() {
        let mut queue = VecDeque::from([Queued("next", writing(1, 2))]);
        let mut lost = writing(4, 1);
        lost.premises.guards.push(("set".into(), 0));
        queue.push_back(Queued("lost", lost));
        let won = Unit { bumps: vec!["set".into()], ..writing(1, 1) };
        let rejected = reject_stale(&mut queue, &[&won]);
        assert_eq!(rejected.iter().map(|(queued, _)| queued.0).collect::<Vec<_>>(), ["lost"]);
        assert_eq!(names(queue.make_contiguous()), ["next"]);
    }

    #[test]
    fn a_batch_is_bounded_in_units_and_bytes() {
        let mut queue: VecDeque<_> = (0..300).map(|id| Queued("small", writing(id, 1))).collect();
        assert_eq!(compose(&mut queue, []).len(), MAX_BATCH_UNITS);

        let large = |id| {
            let mut unit = writing(id, 1);
            unit.events[0].payload = Bytes::from(vec![0; MAX_BATCH_BYTES - 1_000]);
            unit
        };
        let mut queue = VecDeque::from([Queued("large", large(1)), Queued("large", large(2))]);
        assert_eq!(compose(&mut queue, []).len(), 1);
    }
}
