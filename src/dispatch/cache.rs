//! Cache of recently used aggregate states. An entry may be stale: that costs a second decision, never a wrong one.

use std::any::Any;
use std::sync::Arc;

use quick_cache::sync::Cache;

use crate::event_log::StreamId;
use crate::event_log::unit::StreamRead;

/// How many aggregate states are kept in memory.
const CAPACITY: usize = 200_000;

/// An aggregate's state with its type erased, so that one cache holds all aggregates.
pub(super) type AnyState = Arc<dyn Any + Send + Sync>;

/// A state, its version, and a position at which the stream had that version.
#[derive(Clone)]
pub(super) struct Known {
    /// The epoch in which it was read: in another epoch the same version may be a different event.
    pub epoch: i64,
    pub version: i64,
    pub seen: i64,
    pub state: AnyState,
}

/// How many positions `seen` may lag before it is worth updating it for an unchanged state.
const SEEN_LONG_AGO: i64 = 10_000;

/// The cached states, by stream.
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

    /// Caches a state, unless a newer one of the same epoch is cached.
    pub(super) fn keep(&self, stream: StreamId, seen: Known) {
        // Get and insert are not atomic: a lost race leaves an older state, which only costs a second decision.
        if self.0.get(&stream).is_none_or(|known| known.epoch != seen.epoch || known.version < seen.version) {
            self.0.insert(stream, seen);
        }
    }

    /// Records that an unchanged state was still current at a position. Skipped unless `seen` lags far behind, to save
    /// the write.
    pub(super) fn confirm(&self, stream: StreamId, seen: Known, position: i64) {
        let again = |known: Known| {
            known.epoch == seen.epoch && known.version == seen.version && known.seen < position
        };
        if position - seen.seen > SEEN_LONG_AGO && self.0.get(&stream).is_some_and(again) {
            self.0.insert(stream, Known { seen: position, ..seen });
        }
    }

    /// Drops cached states that are no newer than these reads, because any of them may be stale.
    pub(super) fn forget(&self, reads: &[StreamRead]) {
        for read in reads {
            if self.0.get(&read.stream).is_some_and(|known| known.version <= read.version) {
                self.0.remove(&read.stream);
            }
        }
    }

    /// Drops all states of an aggregate type.
    pub(super) fn forget_all(&self, stream_type: &str) {
        self.0.retain(|stream, _| &*stream.stream_type != stream_type);
    }

    /// Drops the state of a stream if it is older than this version.
    pub(super) fn invalidate_before(&self, stream: &StreamId, version: i64) {
        if self.0.get(stream).is_some_and(|known| known.version < version) {
            self.0.remove(stream);
        }
    }
}
