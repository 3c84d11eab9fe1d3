//! Hot states: the aggregates decided on lately. Possibly stale, which costs a second decision, never a wrong one.

use std::any::Any;
use std::sync::Arc;

use quick_cache::sync::Cache;

use crate::event_log::StreamId;
use crate::event_log::unit::StreamRead;

/// How many aggregates are kept in memory.
const CAPACITY: usize = 200_000;

/// An aggregate's state behind its type.
pub(super) type AnyState = Arc<dyn Any + Send + Sync>;

/// A state with its version, which it had at or behind the position at which that was seen.
#[derive(Clone)]
pub(super) struct Known {
    /// The epoch in which it was read: in another one the same version may be another event.
    pub epoch: i64,
    pub version: i64,
    pub seen: i64,
    pub state: AnyState,
}

/// How far behind the head a state may have been seen before it is worth noting that it still holds.
const SEEN_LONG_AGO: i64 = 10_000;

/// The states in memory.
pub(super) struct States(Cache<StreamId, Known>);

impl Default for States {
    fn default() -> Self {
        Self(Cache::new(CAPACITY))
    }
}

impl States {
    pub(super) fn get(&self, stream: &StreamId, epoch: i64) -> Option<Known> {
        self.0.get(stream).filter(|known| known.epoch == epoch)
    }

    /// Keeps a state, unless a newer one is there.
    pub(super) fn keep(&self, stream: StreamId, seen: Known) {
        if self.0.get(&stream).is_none_or(|known| known.epoch != seen.epoch || known.version < seen.version) {
            self.0.insert(stream, seen);
        }
    }

    /// Notes that a state still held at a position, if it was last seen long ago.
    pub(super) fn confirm(&self, stream: StreamId, seen: Known, position: i64) {
        let again = |known: Known| {
            known.epoch == seen.epoch && known.version == seen.version && known.seen < position
        };
        if position - seen.seen > SEEN_LONG_AGO && self.0.get(&stream).is_some_and(again) {
            self.0.insert(stream, Known { seen: position, ..seen });
        }
    }

    /// Forgets what has turned out to be stale, perhaps.
    pub(super) fn forget(&self, reads: &[StreamRead]) {
        for read in reads {
            if self.0.get(&read.stream).is_some_and(|known| known.version <= read.version) {
                self.0.remove(&read.stream);
            }
        }
    }

    /// Forgets all states of a type.
    pub(super) fn forget_all(&self, stream_type: &str) {
        self.0.retain(|stream, _| &*stream.stream_type != stream_type);
    }

    /// Forgets a state that is older than this version.
    pub(super) fn invalidate_before(&self, stream: &StreamId, version: i64) {
        if self.0.get(stream).is_some_and(|known| known.version < version) {
            self.0.remove(stream);
        }
    }
}
