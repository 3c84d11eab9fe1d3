//! Hot states: the aggregates decided on lately. Possibly stale, which costs a second decision, never a wrong one.

use std::any::Any;
use std::sync::Arc;

use quick_cache::sync::Cache;

use crate::event_log::StreamId;

/// How many aggregates are kept in memory.
const CAPACITY: usize = 50_000;

/// An aggregate's state behind its type.
pub(super) type AnyState = Arc<dyn Any + Send + Sync>;

/// The states in memory, each with its version.
pub(super) struct States(Cache<StreamId, (i64, AnyState)>);

impl Default for States {
    fn default() -> Self {
        Self(Cache::new(CAPACITY))
    }
}

impl States {
    pub(super) fn get(&self, stream: &StreamId) -> Option<(i64, AnyState)> {
        self.0.get(stream)
    }

    /// Keeps a state, unless a newer one is there.
    pub(super) fn keep(&self, stream: StreamId, version: i64, state: AnyState) {
        if self.0.get(&stream).is_none_or(|(known, _)| known < version) {
            self.0.insert(stream, (version, state));
        }
    }

    /// Forgets what has turned out to be stale, perhaps.
    pub(super) fn forget(&self, streams: &[(StreamId, i64)]) {
        for (stream, read) in streams {
            if self.0.get(stream).is_some_and(|(known, _)| known <= *read) {
                self.0.remove(stream);
            }
        }
    }

    /// Forgets a state that is older than this version.
    pub(super) fn outdate(&self, stream: &StreamId, version: i64) {
        if self.0.get(stream).is_some_and(|(known, _)| known < version) {
            self.0.remove(stream);
        }
    }
}
