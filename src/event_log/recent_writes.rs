//! Remembers what this process has appended recently, so that the database need not look up what is known here.
//!
//! A version observed at a position is still current if no other process has appended since and this process has not
//! written that stream; likewise, an account that was read at a position has no newer event. What this process has
//! written is kept here. No other process has appended if a batch finds the head where this process left it: each batch
//! names the event that it expects to be the newest and its position, and the database refuses it if it finds another.
//! Either alone is not enough: if a batch of this process fails, an event of another process may take the expected
//! position; and if a batch of this process is stored after another process's event, its last event is the newest, but at
//! a higher position.

use foldhash::{HashMap, HashMapExt as _};
use uuid::Uuid;

use super::error::AppendError;
use super::event::StreamId;
use super::unit::{StreamRead, Unit};
use crate::ids::EventId;

/// The number of streams, or of accounts, from which on a generation is replaced; a batch may exceed it.
const MAX_REMEMBERED: usize = 1 << 16;

/// After how many batches with no event of another process between them a process relies on being the only one: a batch
/// that another process overtakes is sent twice.
const ALONE_AFTER: u32 = 8;

/// What was written after a position: streams with their newest versions, and accounts with their newest positions.
struct Generation {
    after: i64,
    versions: HashMap<StreamId, i64>,
    accounts: HashMap<Uuid, i64>,
}

impl Generation {
    fn after(position: i64) -> Self {
        Self { after: position, versions: HashMap::new(), accounts: HashMap::new() }
    }

    fn is_full(&self) -> bool {
        self.versions.len().max(self.accounts.len()) >= MAX_REMEMBERED
    }
}

/// The head without which a batch is refused, and what needs no look-up with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExpectedHead {
    /// The newest event.
    pub newest: EventId,
    /// The position of that event.
    pub base: i64,
    /// What was read at or after this position still holds unless this process changed it.
    pub from: i64,
}

impl ExpectedHead {
    /// Whether what was read at this position needs no look-up.
    pub const fn covers(&self, seen: i64) -> bool {
        seen >= self.from
    }
}

/// The streams and accounts that this process has written recently, and where it left the head of the log.
pub(super) struct RecentWrites {
    /// The epoch of all positions in this value; 0 before the first connection.
    epoch: i64,
    /// The newest position, if no other process has appended; `None` after a reconnect, or if the log has another.
    head: Option<i64>,
    /// This process has written every event after this position, up to `head`.
    own_after: i64,
    /// The number of batches stored since then, without the first.
    alone_for: u32,
    /// The last event that this process stored, with its position; `None` before the first.
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
            alone_for: 0,
            acknowledged: None,
            current: Generation::after(0),
            previous: Generation::after(0),
        }
    }

    /// The head that the next batch may expect; `None` unless this process seems to be the only one that appends.
    /// `ahead`: the batch in flight before it, by its last event and its number of events.
    ///
    /// At most one batch may be ahead. With two, the second could end at the expected position although events of
    /// another process had taken the place of the first.
    pub fn expected_head(&self, ahead: Option<(EventId, i64)>) -> Option<ExpectedHead> {
        let head = self.head.filter(|_| self.alone_for >= ALONE_AFTER)?;
        // With a batch ahead, expect its end: if it fails, the head is another, and this batch is refused too.
        let (newest, base) = match ahead {
            Some((last, events)) => (last, head + events),
            None => (self.acknowledged?.1, head),
        };
        // What was written before the older generation is forgotten, so earlier observations may be stale.
        Some(ExpectedHead { newest, base, from: self.own_after.max(self.previous.after) })
    }

    /// Forgets the head because the log has another.
    pub const fn forget_head(&mut self) {
        self.head = None;
    }

    /// Forgets the head after a lost connection: batches in flight may have been stored, and other processes may have
    /// appended. In a new epoch everything is forgotten.
    pub fn reconnected(&mut self, epoch: i64) {
        if self.epoch == epoch {
            self.forget_head();
        } else {
            *self = Self { epoch, ..Self::new() };
        }
    }

    /// Records that these units were stored after position `base`.
    pub fn stored<'a>(&mut self, base: i64, units: impl IntoIterator<Item = &'a Unit>) {
        // Another process has appended, or may have: nothing is known of the events up to the base.
        if self.head == Some(base) {
            self.alone_for = self.alone_for.saturating_add(1);
        } else {
            (self.own_after, self.alone_for) = (base, 0);
        }
        let mut position = base;
        for event in units.into_iter().flat_map(|unit| &unit.events) {
            position += 1;
            self.current.versions.insert(event.stream.clone(), event.version);
            if let Some(account) = event.account_id {
                self.current.accounts.insert(account, position);
            }
            self.acknowledged = Some((position, event.id));
        }
        self.head = Some(position);
        // Dropping the older generation bounds the memory; `expected_head` reaches back only as far as the rest.
        if self.current.is_full() {
            self.previous = std::mem::replace(&mut self.current, Generation::after(position));
        }
    }

    /// The conflict of a unit with units that this process has stored since the unit's decision, if any.
    pub fn conflict_of(&self, unit: &Unit) -> Option<AppendError> {
        // A later epoch need not have these events. The committer learns of it when it sends.
        if unit.premises.epoch.is_some_and(|epoch| epoch != self.epoch) {
            return None;
        }
        let moved = |read: &&StreamRead| {
            let newest =
                self.current.versions.get(&read.stream).or_else(|| self.previous.versions.get(&read.stream));
            newest.is_some_and(|newest| *newest > read.version)
        };
        if let Some(lost) = unit.premises.streams.iter().find(moved) {
            return Some(AppendError::Conflict { stream: lost.stream.clone() });
        }
        let written = |(account, seen): &&(Uuid, i64)| {
            // An account in the current generation is there with its newest position.
            let newest = self.current.accounts.get(account).or_else(|| self.previous.accounts.get(account));
            newest.is_some_and(|newest| newest > seen)
        };
        let (account, _) = unit.premises.accounts.iter().find(written)?;
        Some(AppendError::AccountMoved { account: *account })
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::event_log::batch::tests::{stream, writing};

    #[test]
    fn what_was_seen_since_this_process_writes_alone_is_known() {
        let mut recent = RecentWrites::new();
        assert_eq!(recent.expected_head(None), None, "nothing is known before the first batch");
        let head = 11 + i64::from(ALONE_AFTER);
        for base in 10..head {
            assert_eq!(recent.expected_head(None), None, "another process may take turns with this one");
            recent.stored(base, [&writing(1, 1)]);
        }
        let last = EventId::from_uuid(Uuid::max());
        let behind = recent.expected_head(Some((last, 2))).unwrap();
        assert_eq!((behind.newest, behind.base), (last, head + 2));
        let expected_head = recent.expected_head(None).unwrap();
        assert_eq!(expected_head.base, head);
        assert!(expected_head.covers(10) && expected_head.covers(head));
        assert!(!expected_head.covers(9), "another process may have written position 10");
        recent.stored(head, [&writing(2, 1)]);
        assert!(recent.expected_head(None).unwrap().covers(10));
    }

    /// Stores so many batches that this process seems to be the only one.
    fn store_alone(recent: &mut RecentWrites, base: i64) {
        for batch in 0..=i64::from(ALONE_AFTER) {
            recent.stored(base + batch, [&writing(1, 1)]);
        }
    }

    #[test]
    fn nothing_seen_before_anothers_event_is_known() {
        let mut recent = RecentWrites::new();
        recent.stored(10, [&writing(1, 1)]);
        store_alone(&mut recent, 12);
        let expected_head = recent.expected_head(None).unwrap();
        assert!(!expected_head.covers(11) && expected_head.covers(12));
        let end = expected_head.base;
        recent.reconnected(0);
        assert_eq!(recent.expected_head(None), None);
        store_alone(&mut recent, end);
        let expected_head = recent.expected_head(None).unwrap();
        assert!(!expected_head.covers(end - 1), "a batch whose outcome is unknown may have been stored");
        recent.forget_head();
        assert_eq!(recent.expected_head(None), None);
    }

    #[test]
    fn a_decision_on_an_overwritten_version_has_lost() {
        let mut recent = RecentWrites::new();
        recent.stored(0, [&writing(1, 1)]);
        let lost = recent.conflict_of(&writing(1, 1));
        assert_eq!(lost, Some(AppendError::Conflict { stream: stream(1) }));
        assert_eq!(recent.conflict_of(&writing(1, 2)), None);
        assert_eq!(recent.conflict_of(&writing(2, 1)), None);
    }

    /// A unit that writes a stream of an account.
    fn writing_account(id: u128, account: u128) -> Unit {
        let mut unit = writing(id, 1);
        unit.events[0].account_id = Some(Uuid::from_u128(account));
        unit
    }

    #[test]
    fn a_decision_on_an_account_that_this_process_has_written_since_has_lost() {
        let mut recent = RecentWrites::new();
        recent.stored(0, [&writing_account(1, 5), &writing_account(2, 5), &writing_account(3, 6)]);
        let reading = |account, seen| {
            let mut unit = writing(9, 1);
            unit.premises.accounts.push((Uuid::from_u128(account), seen));
            unit
        };
        let lost = recent.conflict_of(&reading(5, 1));
        assert_eq!(lost, Some(AppendError::AccountMoved { account: Uuid::from_u128(5) }));
        assert_eq!(recent.conflict_of(&reading(5, 2)), None);
        assert_eq!(recent.conflict_of(&reading(7, 0)), None);
    }

    #[test]
    fn one_stream_of_many_accounts_fills_the_memory_too() {
        let mut recent = RecentWrites::new();
        for id in 0..u128::try_from(MAX_REMEMBERED).unwrap() {
            recent.stored(i64::try_from(id).unwrap(), [&writing_account(1, id)]);
        }
        assert!(recent.current.accounts.is_empty() && recent.previous.accounts.len() == MAX_REMEMBERED);
    }

    #[test]
    fn what_was_seen_before_the_memory_reaches_is_not_known() {
        let mut recent = RecentWrites::new();
        let streams = u128::try_from(MAX_REMEMBERED).unwrap();
        for id in 0..2 * streams {
            let base = i64::try_from(id).unwrap();
            recent.stored(base, [&writing(id, 1)]);
        }
        let reach = i64::try_from(streams).unwrap();
        let expected_head = recent.expected_head(None).unwrap();
        assert!(expected_head.covers(reach) && !expected_head.covers(reach - 1));
        assert!(recent.conflict_of(&writing(streams, 1)).is_some());
        assert_eq!(recent.acknowledged.map(|(position, _)| position), Some(2 * reach));
        assert_eq!(recent.acknowledged.map(|(_, id)| id.as_uuid()), Some(Uuid::nil()));
        let mut of_another_epoch = writing(streams, 1);
        of_another_epoch.premises.epoch = Some(7);
        assert_eq!(recent.conflict_of(&of_another_epoch), None, "decided where the version may be free");
        recent.reconnected(7);
        assert!(
            recent.conflict_of(&writing(streams, 1)).is_none(),
            "in another epoch the version may be free"
        );
    }
}
