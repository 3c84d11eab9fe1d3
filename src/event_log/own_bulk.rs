//! The headers of what this node has just written in bulk, so that its own follower need not read them back.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::event::EventHeader;

/// The most headers that wait for the follower; it reads the log for those that are dropped.
const MAX_HEADERS: usize = 200_000;

/// Headers of bulk appends that the follower of this node has not taken yet, oldest first.
#[derive(Default)]
pub(super) struct OwnBulk(Mutex<VecDeque<(i64, Vec<EventHeader>)>>);

impl OwnBulk {
    fn lock(&self) -> MutexGuard<'_, VecDeque<(i64, Vec<EventHeader>)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps the headers of a bulk append of this epoch.
    pub(super) fn keep(&self, epoch: i64, headers: Vec<EventHeader>) {
        let mut appends = self.lock();
        appends.push_back((epoch, headers));
        while appends.iter().map(|(_, headers)| headers.len()).sum::<usize>() > MAX_HEADERS {
            appends.pop_front();
        }
    }

    /// Takes the headers after a position of this epoch, if the next events were appended in bulk.
    pub(super) fn take_after(&self, epoch: i64, position: i64) -> Option<Vec<EventHeader>> {
        let mut appends = self.lock();
        let first = |headers: &[EventHeader]| headers.first().map_or(0, |header| header.position);
        // What the follower has read in the log is not wanted any more.
        appends.retain(|(of, headers)| *of == epoch && first(headers) > position);
        let is_next = appends.front().is_some_and(|(_, headers)| first(headers) == position + 1);
        is_next.then(|| appends.pop_front()).flatten().map(|(_, headers)| headers)
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
        own.keep(7, headers(11..=20));
        own.keep(7, headers(21..=30));
        own.keep(7, headers(41..=50));
        assert_eq!(own.take_after(7, 9), None, "position 10 was not appended in bulk");
        assert_eq!(own.take_after(7, 10), Some(headers(11..=20)));
        assert_eq!(own.take_after(7, 25), None, "the log was read up to here");
        assert_eq!(own.take_after(8, 40), None, "another epoch");
        assert_eq!(own.take_after(7, 40), None, "and nothing of the earlier one is left");
    }
}
