//! What this process has appended lately, so that the database need not look up versions that are known here.
//!
//! A version that was seen at a position still holds at the head if no other process has appended since, and this one
//! has not appended to that stream. The first is known when a batch finds the head where this process left it: each
//! batch names the event that it expects there and its position, and has every version checked if it is another. It
//! takes both: another's event may have the position when a batch of ours fails, and a batch of ours may be stored behind
//! another's event and then be the newest. The second is what is kept here.

use foldhash::{HashMap, HashMapExt as _};

use super::error::AppendError;
use super::event::StreamId;
use super::unit::{StreamRead, Unit};
use crate::ids::EventId;

/// How many streams each half of the memory holds.
const MAX_STREAMS: usize = 1 << 16;

/// The streams written behind a position, with their newest versions.
struct Generation {
    after: i64,
    versions: HashMap<StreamId, i64>,
}

impl Generation {
    fn after(position: i64) -> Self {
        Self { after: position, versions: HashMap::new() }
    }
}

/// How far a batch can see without looking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExpectedHead {
    /// The newest event if no other process has appended.
    pub newest: EventId,
    /// Its position.
    pub base: i64,
    /// What was seen at this position or later has not changed unbeknownst, in that case.
    pub from: i64,
}

impl ExpectedHead {
    /// Whether a version that was read holds if that event is the newest.
    pub const fn covers(&self, read: &StreamRead) -> bool {
        read.seen >= self.from
    }
}

/// The tail of the log as far as this process has written it.
pub(super) struct RecentWrites {
    /// The epoch of all positions here; 0 before the first connection.
    epoch: i64,
    /// The newest position, if nobody else has appended.
    head: Option<i64>,
    /// From here on, this process has written every event up to `head`.
    own_after: i64,
    /// The last event that this process stored, with its position.
    acknowledged: Option<(i64, EventId)>,
    current: Generation,
    previous: Generation,
}

impl RecentWrites {
    pub fn new() -> Self {
        Self {
            epoch: 0,
            head: None,
            own_after: 0,
            acknowledged: None,
            current: Generation::after(0),
            previous: Generation::after(0),
        }
    }

    /// What a batch may rely on that is sent behind another, which ends with this event and has so many.
    ///
    /// With two ahead that would not do: the second may be the newest at the expected position although another's events
    /// have taken the place of the first.
    pub fn expected_head(&self, ahead: Option<(EventId, i64)>) -> Option<ExpectedHead> {
        let head = self.head?;
        let (newest, base) = match ahead {
            Some((last, events)) => (last, head + events),
            None => (self.acknowledged?.1, head),
        };
        Some(ExpectedHead { newest, base, from: self.own_after.max(self.previous.after) })
    }

    /// The connection is gone: whatever was under way may have been stored, and others may have appended. In another
    /// epoch nothing that is remembered holds.
    pub fn forget_head(&mut self, epoch: i64) {
        if self.epoch == epoch {
            self.head = None;
        } else {
            *self = Self { epoch, ..Self::new() };
        }
    }

    /// Takes note of units that were stored behind this position.
    pub fn stored<'a>(&mut self, base: i64, units: impl IntoIterator<Item = &'a Unit>) {
        if self.head != Some(base) {
            self.own_after = base;
        }
        let mut position = base;
        for event in units.into_iter().flat_map(|unit| &unit.events) {
            position += 1;
            self.current.versions.insert(event.stream.clone(), event.version);
            self.acknowledged = Some((position, event.id));
        }
        self.head = Some(position);
        if self.current.versions.len() >= MAX_STREAMS {
            self.previous = std::mem::replace(&mut self.current, Generation::after(position));
        }
    }

    /// What a unit has lost against units that this process has stored.
    pub fn conflict_of(&self, unit: &Unit) -> Option<AppendError> {
        let moved = |read: &&StreamRead| {
            let newest =
                self.current.versions.get(&read.stream).or_else(|| self.previous.versions.get(&read.stream));
            newest.is_some_and(|newest| *newest > read.version)
        };
        let lost = unit.premises.streams.iter().find(moved)?;
        Some(AppendError::Conflict { stream: lost.stream.clone() })
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::event_log::batch::tests::{stream, writing};

    fn read(id: u128, version: i64, seen: i64) -> StreamRead {
        StreamRead { stream: stream(id), version, seen }
    }

    #[test]
    fn what_was_seen_since_this_process_writes_alone_is_known() {
        let mut recent = RecentWrites::new();
        assert_eq!(recent.expected_head(None), None, "nothing is known before the first batch");
        recent.stored(10, [&writing(1, 1)]);
        let last = EventId::from_uuid(Uuid::max());
        let behind = recent.expected_head(Some((last, 2))).unwrap();
        assert_eq!((behind.newest, behind.base), (last, 13));
        let expected_head = recent.expected_head(None).unwrap();
        assert_eq!(expected_head.base, 11);
        assert!(expected_head.covers(&read(7, 3, 10)) && expected_head.covers(&read(1, 1, 11)));
        assert!(!expected_head.covers(&read(7, 3, 9)), "another process may have written position 10");
        recent.stored(11, [&writing(2, 1)]);
        assert!(recent.expected_head(None).unwrap().covers(&read(7, 3, 10)));
    }

    #[test]
    fn nothing_seen_before_anothers_event_is_known() {
        let mut recent = RecentWrites::new();
        recent.stored(10, [&writing(1, 1)]);
        recent.stored(12, [&writing(2, 1)]);
        let expected_head = recent.expected_head(None).unwrap();
        assert!(!expected_head.covers(&read(1, 1, 11)) && expected_head.covers(&read(2, 1, 13)));
        recent.forget_head(0);
        assert_eq!(recent.expected_head(None), None);
        recent.stored(13, [&writing(3, 1)]);
        let expected_head = recent.expected_head(None).unwrap();
        assert!(
            !expected_head.covers(&read(2, 1, 12)),
            "a batch whose end was not seen may have been stored"
        );
    }

    #[test]
    fn who_read_a_version_that_was_written_over_has_lost() {
        let mut recent = RecentWrites::new();
        recent.stored(0, [&writing(1, 1)]);
        let lost = recent.conflict_of(&writing(1, 1));
        assert_eq!(lost, Some(AppendError::Conflict { stream: stream(1) }));
        assert_eq!(recent.conflict_of(&writing(1, 2)), None);
        assert_eq!(recent.conflict_of(&writing(2, 1)), None);
    }

    #[test]
    fn what_was_seen_before_the_memory_reaches_is_not_known() {
        let mut recent = RecentWrites::new();
        let streams = u128::try_from(MAX_STREAMS).unwrap();
        for id in 0..2 * streams {
            let base = i64::try_from(id).unwrap();
            recent.stored(base, [&writing(id, 1)]);
        }
        let reach = i64::try_from(streams).unwrap();
        let expected_head = recent.expected_head(None).unwrap();
        assert!(expected_head.covers(&read(0, 1, reach)) && !expected_head.covers(&read(0, 1, reach - 1)));
        assert!(recent.conflict_of(&writing(streams, 1)).is_some());
        assert_eq!(recent.acknowledged.map(|(position, _)| position), Some(2 * reach));
        assert_eq!(recent.acknowledged.map(|(_, id)| id.as_uuid()), Some(Uuid::nil()));
        recent.forget_head(7);
        assert!(
            recent.conflict_of(&writing(streams, 1)).is_none(),
            "another epoch may have the version free"
        );
    }
}
