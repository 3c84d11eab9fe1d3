//! The headers of what this node has just written, so that its own follower need not read them back.
//!
//! Bulk appends are announced before the commit: the server's notification of it may reach the follower before the answer reaches the
//! writer, and the follower would begin to read what it is about to be given.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::event::EventHeader;

/// The most headers that wait for the follower; it reads the log for those that are dropped.
const MAX_HEADERS: usize = 200_000;

/// Appends that the follower of this node has not taken yet.
#[derive(Default)]
pub(super) struct OwnAppends(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    /// In the order in which they were stored, which is that of their positions but for appends that end at the same time.
    appends: VecDeque<Append>,
    /// How many headers these are.
    headers: usize,
}

/// Consecutive events.
struct Append {
    epoch: i64,
    headers: Vec<EventHeader>,
    is_stored: bool,
}

impl Append {
    /// The first and the last position.
    fn positions(&self) -> (i64, i64) {
        let position = |header: Option<&EventHeader>| header.map_or(0, |header| header.position);
        (position(self.headers.first()), position(self.headers.last()))
    }
}

impl Waiting {
    fn push(&mut self, append: Append) {
        self.headers += append.headers.len();
        self.appends.push_back(append);
        while self.headers > MAX_HEADERS {
            self.pop();
        }
    }

    fn pop(&mut self) -> Option<Append> {
        let append = self.appends.pop_front()?;
        self.headers -= append.headers.len();
        Some(append)
    }

    /// The append that comes next, if it begins after this position of this epoch. Those that have been read are dropped.
    fn next_after(&mut self, epoch: i64, position: i64) -> Option<&Append> {
        let is_read = |append: &Append| append.epoch != epoch || append.positions().0 <= position;
        while self.appends.front().is_some_and(is_read) {
            self.pop();
        }
        self.appends.front().filter(|append| append.positions().0 == position + 1)
    }
}

/// What this node has appended after a place.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum Next {
    /// Nothing that is known here.
    Unknown,
    /// Events that are being committed.
    Announced,
    /// These events.
    Stored(Vec<EventHeader>),
}

/// An append that is being committed. Withdrawn when it is dropped, unless it was stored.
pub(super) struct Announced<'a> {
    appends: &'a OwnAppends,
    epoch: i64,
    positions: (i64, i64),
    is_stored: bool,
}

impl OwnAppends {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps the headers of an append of this epoch that is committed.
    pub(super) fn keep(&self, epoch: i64, headers: Vec<EventHeader>) {
        self.lock().push(Append { epoch, headers, is_stored: true });
    }

    /// Announces the headers of an append of this epoch that is about to be committed.
    pub(super) fn announce(&self, epoch: i64, headers: Vec<EventHeader>) -> Announced<'_> {
        let append = Append { epoch, headers, is_stored: false };
        let positions = append.positions();
        self.lock().push(append);
        Announced { appends: self, epoch, positions, is_stored: false }
    }

    /// Takes the headers after a position of this epoch, as far as the next events were appended here.
    pub(super) fn take_after(&self, epoch: i64, position: i64) -> Next {
        let mut waiting = self.lock();
        let mut taken: Vec<EventHeader> = Vec::new();
        loop {
            let position = taken.last().map_or(position, |last| last.position);
            match waiting.next_after(epoch, position) {
                Some(next) if next.is_stored => {
                    taken.extend(waiting.pop().into_iter().flat_map(|append| append.headers));
                }
                Some(_) if taken.is_empty() => return Next::Announced,
                _ if taken.is_empty() => return Next::Unknown,
                _ => return Next::Stored(taken),
            }
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
        let mut waiting = self.appends.lock();
        let is_this = |append: &Append| append.epoch == self.epoch && append.positions() == self.positions;
        let Some(place) = waiting.appends.iter().position(is_this) else { return };
        if self.is_stored {
            waiting.appends[place].is_stored = true;
        } else if let Some(append) = waiting.appends.remove(place) {
            waiting.headers -= append.headers.len();
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
            event_type: "user.registered".into(),
            account_id: None,
        };
        positions.map(header).collect()
    }

    #[test]
    fn only_what_comes_next_is_taken_and_what_was_read_is_dropped() {
        let own = OwnAppends::default();
        own.announce(7, headers(11..=20)).stored();
        for positions in [21..=30, 41..=50, 61..=70] {
            own.keep(7, headers(positions));
        }
        assert_eq!(own.take_after(7, 9), Next::Unknown, "position 10 was not appended here");
        assert_eq!(own.take_after(7, 10), Next::Stored(headers(11..=30)), "all that come next");
        assert_eq!(own.take_after(7, 45), Next::Unknown, "the log was read up to here");
        assert_eq!(own.take_after(8, 60), Next::Unknown, "another epoch");
        assert_eq!(own.take_after(7, 60), Next::Unknown, "and nothing of the earlier one is left");
    }

    #[test]
    fn what_is_being_committed_is_waited_for_and_what_was_not_committed_is_withdrawn() {
        let own = OwnAppends::default();
        let committing = own.announce(7, headers(11..=20));
        assert_eq!(own.take_after(7, 10), Next::Announced);
        drop(committing);
        assert_eq!(own.take_after(7, 10), Next::Unknown);
        let committing = own.announce(7, headers(11..=15));
        committing.stored();
        assert_eq!(own.take_after(7, 10), Next::Stored(headers(11..=15)));
    }

    #[test]
    fn no_more_wait_than_the_limit() {
        let own = OwnAppends::default();
        let most = i64::try_from(MAX_HEADERS).unwrap();
        own.keep(7, headers(1..=most - 1));
        own.keep(7, headers(most..=most + 1));
        assert_eq!(own.lock().headers, 2);
        assert_eq!(own.take_after(7, 0), Next::Unknown, "the log has them");
        assert_eq!(own.take_after(7, most - 1), Next::Stored(headers(most..=most + 1)));
        assert_eq!(own.lock().headers, 0);
    }
}
