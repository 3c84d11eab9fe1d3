//! What can go wrong with the log, told apart by what the caller can do about it.

use std::time::Duration;

use super::checkpoint::Checkpoint;
use super::claim::ClaimKey;
use super::event::StreamId;
use super::limits::{MAX_EVENT_BYTES, MAX_UNIT_BYTES, MAX_UNIT_EVENTS};
use crate::ids::{EventId, LogId};
use crate::postgres::{ConnectError, statement_reason};

/// Why a unit was not appended, or why that is not known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// A stream that was read for the decision has moved; decide again.
    #[error("{stream} has moved past the version it was read at")]
    Conflict {
        /// The first of the streams found to have moved.
        stream: StreamId,
    },
    /// A set that was read for the decision has changed; decide again.
    #[error("the set `{guard}` has changed since it was read")]
    GuardMoved {
        /// The guard of the set.
        guard: String,
    },
    /// An account whose things the decision rests on has had an event since they were read.
    #[error("the account `{account}` has had an event since its things were read")]
    AccountMoved {
        /// The account.
        account: uuid::Uuid,
    },
    /// Somebody else holds a name that the unit claims.
    #[error("the {} is taken", key.kind)]
    ClaimTaken {
        /// What is taken.
        key: ClaimKey,
        /// Who holds it.
        holder: String,
    },
    /// The same request, by its idempotency key, was carried out a moment ago; look at its record.
    #[error("the same request has been carried out already")]
    Repeated,
    /// The unit breaks a stated limit, or contradicts itself.
    #[error("the unit is malformed: {0}")]
    Malformed(&'static str),
    /// The unit is larger than the log accepts.
    #[error("a unit holds at most {MAX_UNIT_EVENTS} events and {MAX_UNIT_BYTES} bytes")]
    TooLarge,
    /// One event is larger than any may be.
    #[error("an event takes {bytes} bytes; at most {max} are stored", max = MAX_EVENT_BYTES)]
    EventTooLarge {
        /// Its payload, metadata and sealed fields together.
        bytes: usize,
    },
    /// The database refuses the data of this unit; the others of its batch went through.
    #[error("the database refuses the data of this unit (SQLSTATE {code})")]
    Refused {
        /// The SQLSTATE.
        code: String,
    },
    /// The queue is full; nothing was written; try again later.
    #[error("the append queue is full; try again later")]
    Busy,
    /// The database cannot be written to; nothing was written; try again later.
    #[error("the event log is unavailable: {0}")]
    Unavailable(String),
    /// The connection was lost while committing and has not come back in time to find out.
    #[error("the connection to the event log was lost while committing; the outcome is not known yet")]
    OutcomeUnknown,
    /// Another node has replaced the projections; this one must be restarted with the matching release.
    #[error("the projections have been replaced by set {0}; restart this node with the release that made it")]
    Superseded(String),
    /// Positions have a new epoch since the decision was made, so that what it rests on may have changed; decide again.
    #[error("positions have a new epoch since this was decided")]
    EpochChanged,
    /// This machine's clock is ahead of the database server's; nothing was written.
    #[error(
        "this machine's clock is {0:.1} s ahead of the database server's: set both by NTP; writes are refused until they \
         agree within 5 s"
    )]
    ClockAhead(Seconds),
    /// This machine's clock is behind the database server's; nothing was written.
    #[error(
        "this machine's clock is {0:.1} s behind the database server's: set both by NTP; writes are refused until they \
         agree within 5 s"
    )]
    ClockBehind(Seconds),
    /// The log has been closed by this process.
    #[error("the event log is closed")]
    Closed,
}

impl AppendError {
    /// The refusal of a clock that is off by so many seconds; ahead if that is positive.
    #[must_use]
    pub fn clock(offset_seconds: f64) -> Self {
        let seconds = Seconds(offset_seconds.abs());
        if offset_seconds > 0.0 { Self::ClockAhead(seconds) } else { Self::ClockBehind(seconds) }
    }
}

/// An offset between two clocks.
#[derive(Debug, Clone, Copy)]
pub struct Seconds(pub f64);

impl PartialEq for Seconds {
    fn eq(&self, other: &Self) -> bool {
        self.0.total_cmp(&other.0).is_eq()
    }
}

impl Eq for Seconds {}

impl std::fmt::Display for Seconds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// Why a server does not answer for the log.
#[derive(Debug, thiserror::Error)]
pub enum PrimaryError {
    /// There is no connection, or it leads to a replica.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The server, or a place in the connection pool, did not answer in time.
    #[error("PostgreSQL did not answer within {} s", .0.as_secs_f32())]
    TimedOut(Duration),
    /// The server does not hold the head row of a log.
    #[error("the database holds no log")]
    NoLog,
    /// The server holds another log.
    #[error("the database holds log {found}, this node was started on log {expected}")]
    AnotherLog {
        /// The log that this node serves.
        expected: LogId,
        /// The log that is there.
        found: LogId,
    },
    /// The server is the same as before, and an event that this node has seen is not there any more.
    #[error(
        "event {event_id} at position {position}, which this node has seen, is missing or another one: the database has \
         lost events; restore them, or run `tenure log new-epoch --yes` to go on without them"
    )]
    LostEvents {
        /// Where the event was.
        position: i64,
        /// The event.
        event_id: EventId,
    },
    /// The connection led to a server that may not answer, more often than there are connections.
    #[error("every connection led to a replica or to a server that lacks what this node has seen")]
    Stale,
    /// The server refuses a statement, or the connection was lost.
    #[error("{}", statement_reason(.0))]
    Statement(#[from] tokio_postgres::Error),
}

/// Why the log could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The database cannot be reached or refuses to answer.
    #[error("the event log cannot be read: {0}")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Positions are missing: the log has been tampered with or damaged.
    #[error("the log jumps from position {after} to {found}: events are missing")]
    Gap {
        /// The last position read.
        after: i64,
        /// The next that was found.
        found: i64,
    },
    /// Positions have another epoch than the place that was asked for: it may name another event now.
    #[error("positions of epoch {} are no longer valid: the log has epoch {epoch}; begin again from its start or its end", from.epoch)]
    LogReplaced {
        /// The place that was asked for.
        from: Checkpoint,
        /// The epoch of the log.
        epoch: i64,
    },
    /// The place that was asked for is of another log.
    #[error("log {} is not the log that is asked, {found}", from.log_id)]
    AnotherLog {
        /// The place that was asked for.
        from: Checkpoint,
        /// The log that is asked.
        found: LogId,
    },
    /// The place that was asked for lies behind the newest event.
    #[error("position {} is beyond the newest, {newest}", from.position)]
    BeyondHead {
        /// The place that was asked for.
        from: Checkpoint,
        /// The newest position.
        newest: i64,
    },
}

impl From<tokio_postgres::Error> for ReadError {
    fn from(error: tokio_postgres::Error) -> Self {
        PrimaryError::from(error).into()
    }
}

impl From<PrimaryError> for ReadError {
    fn from(error: PrimaryError) -> Self {
        Self::Unavailable(Box::new(error))
    }
}
