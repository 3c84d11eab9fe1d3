//! Lets commits go first: a rebuild beside nodes that write takes half of its time off, but not for ever, or it would never
//! catch up.

use std::time::Duration;

use tokio::time::sleep;

use crate::clock::Stopwatch;
use crate::event_log::EventLog;

/// For how long commits go first.
const GIVES_WAY_FOR: Duration = Duration::from_mins(1);

/// The longest pause.
const LONGEST: Duration = Duration::from_millis(250);

/// How fast a replay goes.
pub(super) struct Pace<'a> {
    log: &'a EventLog,
    /// The newest position when the replay began; a later one means that nodes are writing.
    begun_at: i64,
    since: Stopwatch,
}

impl<'a> Pace<'a> {
    /// Begins at this position of the log.
    pub(super) fn new(log: &'a EventLog, begun_at: i64) -> Self {
        Self { log, begun_at, since: Stopwatch::start() }
    }

    /// Whether commits go first.
    pub(super) fn gives_way(&self) -> bool {
        self.log.seen().get().position > self.begun_at && self.since.elapsed() < GIVES_WAY_FOR
    }

    /// Pauses for as long as the last step took, if nodes are writing.
    pub(super) async fn give_way(&self, step: &Stopwatch) {
        if self.gives_way() {
            sleep(step.elapsed().min(LONGEST)).await;
        }
    }
}
