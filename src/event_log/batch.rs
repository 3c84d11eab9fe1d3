//! Which waiting units may share a transaction: pure, no I/O.

use std::collections::VecDeque;

use foldhash::{HashMap, HashSet};

use super::error::AppendError;
use super::event::StreamId;
use super::unit::{ClaimChange, ClaimKey, Unit};

/// The most units that one transaction stores.
pub const MAX_BATCH_UNITS: usize = 256;

/// The most bytes of units that one transaction takes, unless a single one is larger.
const MAX_BATCH_BYTES: usize = 8 * 1024 * 1024;

/// Something that waits with a unit: the unit and whatever its owner keeps beside it.
pub trait Waiting {
    /// The unit that waits.
    fn unit(&self) -> &Unit;
}

/// What the units of a batch touch together.
#[derive(Default)]
struct Touched<'a> {
    read: HashSet<&'a StreamId>,
    written: HashSet<&'a StreamId>,
    guards_read: HashSet<&'a str>,
    guards_bumped: HashSet<&'a str>,
    claims: HashSet<&'a ClaimKey>,
    requests: HashSet<&'a [u8; 32]>,
}

impl<'a> Touched<'a> {
    /// Whether a unit may share the transaction: what one writes, no other reads or writes. Readers may share, and so
    /// may those that only bump a guard.
    fn admits(&self, unit: &'a Unit) -> bool {
        unit.streams_written().all(|stream| !self.read.contains(stream) && !self.written.contains(stream))
            && unit.reads.iter().all(|(stream, _)| !self.written.contains(stream))
            && unit.guards.iter().all(|(guard, _)| !self.guards_bumped.contains(guard.as_str()))
            && unit.bumps.iter().all(|guard| !self.guards_read.contains(guard.as_str()))
            && unit.claims.iter().all(|(_, change)| !self.claims.contains(key_of(change)))
            && unit.idempotency.iter().all(|record| !self.requests.contains(&record.request))
    }

    fn add(&mut self, unit: &'a Unit) {
        self.written.extend(unit.streams_written());
        self.read.extend(unit.reads.iter().map(|(stream, _)| stream));
        self.guards_read.extend(unit.guards.iter().map(|(guard, _)| guard.as_str()));
        self.guards_bumped.extend(unit.bumps.iter().map(String::as_str));
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

/// Takes the next batch from the queue, oldest first; who does not fit keeps the place in the queue.
///
/// What touches something that is under way waits; so does whoever comes after one that waits and touches the same,
/// or a stream that is read without pause could never be written.
pub fn compose<'u, W: Waiting>(
    queue: &mut VecDeque<W>,
    under_way: impl IntoIterator<Item = &'u Unit>,
) -> Vec<W> {
    let mut chosen = Vec::new();
    {
        let (mut touched, mut awaited) = (Touched::default(), Touched::default());
        for unit in under_way {
            touched.add(unit);
        }
        let (mut bytes, mut anybody_awaits) = (0, false);
        for (place, waiting) in queue.iter().enumerate() {
            let unit = waiting.unit();
            let size = unit.size_bytes();
            if chosen.len() == MAX_BATCH_UNITS || (!chosen.is_empty() && bytes + size > MAX_BATCH_BYTES) {
                break;
            }
            if touched.admits(unit) && (!anybody_awaits || awaited.admits(unit)) {
                touched.add(unit);
                bytes += size;
                chosen.push(place);
            } else {
                awaited.add(unit);
                anybody_awaits = true;
            }
        }
    }
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

/// Removes from the queue those that are known to have lost against units that were stored meanwhile.
pub fn bounce<W: Waiting>(queue: &mut VecDeque<W>, stored: &[&Unit]) -> Vec<(W, AppendError)> {
    if queue.is_empty() {
        return Vec::new();
    }
    let versions: HashMap<&StreamId, i64> = stored
        .iter()
        .flat_map(|unit| unit.events.iter().map(|event| (&event.stream, event.version)))
        .collect();
    let bumped: HashSet<&str> =
        stored.iter().flat_map(|unit| unit.bumps.iter().map(String::as_str)).collect();
    let mut bounced = Vec::new();
    for waiting in std::mem::take(queue) {
        match loss(waiting.unit(), &versions, &bumped) {
            Some(error) => bounced.push((waiting, error)),
            None => queue.push_back(waiting),
        }
    }
    bounced
}

fn loss(unit: &Unit, versions: &HashMap<&StreamId, i64>, bumped: &HashSet<&str>) -> Option<AppendError> {
    let stream =
        unit.reads.iter().find(|(stream, read)| versions.get(stream).is_some_and(|newest| newest > read));
    if let Some((stream, _)) = stream {
        return Some(AppendError::Conflict { stream: stream.clone() });
    }
    let guard = unit.guards.iter().find(|(guard, _)| bumped.contains(guard.as_str()));
    guard.map(|(guard, _)| AppendError::GuardMoved { guard: guard.clone() })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use uuid::Uuid;

    use super::*;
    use crate::event_log::event::NewEvent;
    use crate::event_log::unit::Claim;
    use crate::ids::EventId;

    struct Queued(&'static str, Unit);

    impl Waiting for Queued {
        fn unit(&self) -> &Unit {
            &self.1
        }
    }

    fn stream(id: u128) -> StreamId {
        StreamId::new("thing", Uuid::from_u128(id))
    }

    fn writing(id: u128, version: i64) -> Unit {
        let event = NewEvent {
            id: EventId::from_uuid(Uuid::nil()),
            stream: stream(id),
            version,
            event_type: "thing.done".into(),
            event_version: "1".into(),
            account_id: None,
            payload: Bytes::new(),
            metadata: Bytes::new(),
            sealed: None,
        };
        Unit { reads: vec![(stream(id), version - 1)], events: vec![event], ..Unit::default() }
    }

    fn reading(id: u128, version: i64, mut unit: Unit) -> Unit {
        unit.reads.push((stream(id), version));
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
        let under_way = reading(1, 0, writing(9, 1));
        let mut queue = VecDeque::from([
            Queued("writer", writing(1, 1)),
            Queued("later reader", reading(1, 0, writing(2, 1))),
            Queued("stranger", writing(3, 1)),
        ]);
        assert_eq!(names(&compose(&mut queue, [&under_way])), ["stranger"]);
        assert_eq!(names(&compose(&mut queue, [])), ["writer"]);
        assert_eq!(names(queue.make_contiguous()), ["later reader"]);
    }

    #[test]
    fn a_claim_is_touched_by_one_unit_of_a_batch() {
        let key = ClaimKey { kind: "name", key: [1; 32] };
        let take = |id| {
            let claim = Claim::for_good(key.clone(), format!("{id}"));
            Unit { claims: vec![(0, ClaimChange::Take(claim))], ..writing(id, 1) }
        };
        let mut queue = VecDeque::from([Queued("first", take(1)), Queued("second", take(2))]);
        assert_eq!(names(&compose(&mut queue, [])), ["first"]);
    }

    #[test]
    fn guards_are_bumped_together_and_never_beside_a_reader() {
        let bump = |id| Unit { bumps: vec!["set".into()], ..writing(id, 1) };
        let read = |id| Unit { guards: vec![("set".into(), 0)], ..writing(id, 1) };
        let mut queue =
            VecDeque::from([Queued("bump", bump(1)), Queued("bump too", bump(2)), Queued("read", read(3))]);
        assert_eq!(names(&compose(&mut queue, [])), ["bump", "bump too"]);
    }

    #[test]
    fn who_has_lost_already_never_enters_a_batch() {
        let mut queue = VecDeque::from([
            Queued("lost", writing(1, 1)),
            Queued("next", writing(1, 2)),
            Queued("guard lost", Unit { guards: vec![("set".into(), 0)], ..writing(4, 1) }),
        ]);
        let won = Unit { bumps: vec!["set".into()], ..writing(1, 1) };
        let bounced = bounce(&mut queue, &[&won]);
        assert_eq!(bounced.iter().map(|(queued, _)| queued.0).collect::<Vec<_>>(), ["lost", "guard lost"]);
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
