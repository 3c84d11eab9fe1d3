//! How many readers follow events at once.

use super::fair_semaphore::FairSemaphore;

/// The most streams of a node, and the most of one user on it. A node takes 8,192 connections.
const MAX_STREAMS: usize = 4_096;
const MAX_STREAMS_PER_USER: usize = 2_048;

/// The permits for streams of events on this node.
#[must_use]
pub fn stream_permits() -> FairSemaphore {
    FairSemaphore::new(MAX_STREAMS, MAX_STREAMS_PER_USER)
}
