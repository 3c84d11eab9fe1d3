//! The headers of what this node has just written in bulk, so that its own follower need not read them back.
//!
//! They are announced before the commit: the server's notification of it may reach the follower before the answer reaches the writer, and
//! the follower would begin to read what it is about to be given.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::event::EventHeader;

/// The most headers that wait for the follower; it reads the log for those that are dropped.
const MAX_HEADERS: usize = 200_000;

/// Bulk appends that the follower of this node has not taken yet, oldest first.
#[derive(Default)]
pub(super) struct OwnBulk(Mutex<VecDeque<Append>>);

struct Append {
    epoch: i64,
    headers: Vec<EventHeader>,
    is_stored: bool,
}

impl Append {
    fn positions(&self) -> (i64, i64) {
        let position = |header: Option<&EventHeader>| header.map_or(0, |header| header.position);
        (position(self.headers.first()), position(self.headers.last()))
    }
}

/// What was appended in bulk after a place.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum Next {
    /// Nothing that is known here.
    Unknown,
    /// Events up to this position, which are being committed.
    Announced(i64),
    /// These events.
    Stored(Vec<EventHeader>),
}

/// An append that is being committed. Withdrawn when it is dropped, unless it was stored.
pub(super) struct Announced<'a> {
    appends: &'a OwnBulk,
    epoch: i64,
    positions: (i64, i64),
    is_stored: bool,
}

impl OwnBulk {
    fn lock(&self) -> MutexGuard<'_, VecDeque<Append>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Announces the headers of a bulk append of this epoch that is about to be committed.
    pub(super) fn announce(&self, epoch: i64, headers: Vec<EventHeader>) -> Announced<'_> {
        let append = Append { epoch, headers, is_stored: false };
        let positions = append.positions();
        let mut appends = self.lock();
        appends.push_back(append);
        while appends.iter().map(|append| append.headers.len()).sum::<usize>() > MAX_HEADERS {
            appends.pop_front();
        }
        Announced { appends: self, epoch, positions, is_stored: false }
    }

    /// Takes the headers after a position of this epoch, if the next events were appended in bulk.
    pub(super) fn take_after(&self, epoch: i64, position: i64) -> Next {
        let mut appends = self.lock();
        // What the follower has read in the log is not wanted any more.
        appends.retain(|append| append.epoch == epoch && append.positions().0 > position);
        match appends.front() {
            Some(next) if next.positions().0 == position + 1 => {
                if !next.is_stored {
                    return Next::Announced(next.positions().1);
                }
                appends.pop_front().map_or(Next::Unknown, |append| Next::Stored(append.headers))
            }
            _ => Next::Unknown,
        }
    }
}

impl Announced<'_> {
    /// The append is committed.
    pub(super) fn stored(mut self) {
        self.is_stored = true;
    }
}

impl Drop for Announced<'_> {
    fn drop(&mut self) {
        let mut appends = self.appends.lock();
        let is_this = |append: &Append| append.epoch == self.epoch && append.positions() == self.positions;
        if !self.is_stored {
            appends.retain(|append| append.is_stored || !is_this(append));
        } else if let Some(append) = appends.iter_mut().find(|append| is_this(append)) {
            append.is_stored = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event_log::StreamId;
    use crate::ids::EventId;

    fn headers(positions: std::ops::RangeInclusive<i64>) -> Vec<EventHeader> {
        let header = |position| EventHeader {
            position,
            id: EventId::NIL,
            stream: StreamId::new("user", uuid::Uuid::nil()),
            version: 1,
            event_type: "user.registered".to_owned(),
            account_id: None,
        };
        positions.map(header).collect()
    }

    #[test]
    fn only_what_comes_next_is_taken_and_what_was_read_is_dropped() {
        let own = OwnBulk::default();
        for positions in [11..=20, 21..=30, 41..=50] {
            own.announce(7, headers(positions)).stored();
        }
        assert_eq!(own.take_after(7, 9), Next::Unknown, "position 10 was not appended in bulk");
        assert_eq!(own.take_after(7, 10), Next::Stored(headers(11..=20)));
        assert_eq!(own.take_after(7, 25), Next::Unknown, "the log was read up to here");
        assert_eq!(own.take_after(8, 40), Next::Unknown, "another epoch");
        assert_eq!(own.take_after(7, 40), Next::Unknown, "and nothing of the earlier one is left");
    }

    #[test]
    fn what_is_being_committed_is_waited_for_and_what_was_not_committed_is_withdrawn() {
        let own = OwnBulk::default();
        let committing = own.announce(7, headers(11..=20));
        assert_eq!(own.take_after(7, 10), Next::Announced(20));
        drop(committing);
        assert_eq!(own.take_after(7, 10), Next::Unknown);
        let committing = own.announce(7, headers(11..=15));
        committing.stored();
        assert_eq!(own.take_after(7, 10), Next::Stored(headers(11..=15)));
    }
}
