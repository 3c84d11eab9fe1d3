//! The errors of the event log, distinguished by what the caller can do about them.

use std::time::Duration;

use super::checkpoint::Checkpoint;
use super::claim::ClaimKey;
use super::event::StreamId;
use super::limits::{MAX_EVENT_BYTES, MAX_UNIT_BYTES, MAX_UNIT_EVENTS};
use crate::ids::{EventId, LogId};
use crate::postgres::{ConnectError, statement_reason};

/// Why a unit was not appended, or why the outcome is unknown.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// A stream that the decision read has new events; decide again.
    #[error("{stream} has changed since it was read")]
    Conflict {
        /// The first such stream that was found.
        stream: StreamId,
    },
    /// A set that the decision read has changed; decide again.
    #[error("the set `{guard}` has changed since it was read")]
    GuardMoved {
        /// The name of the set's guard.
        guard: String,
    },
    /// An account whose resources the decision read has had an event since; decide again.
    #[error("the account `{account}` has changed since its resources were read")]
    AccountMoved {
        /// The account that has changed.
        account: uuid::Uuid,
    },
    /// Another holder has a name that the unit claims.
    #[error("the {} is taken", key.kind)]
    ClaimTaken {
        /// The name that is taken.
        key: ClaimKey,
        /// The present holder; empty if the claim has expired but may not be taken over.
        holder: String,
    },
    /// A request with the same idempotency key was carried out in the meantime; answer from its record.
    #[error("this request has already been carried out")]
    Repeated,
    /// The unit contradicts itself or is incomplete.
    #[error("the unit is malformed: {0}")]
    Malformed(&'static str),
    /// The unit exceeds [`MAX_UNIT_EVENTS`] or [`MAX_UNIT_BYTES`].
    #[error("the unit is too large: at most {MAX_UNIT_EVENTS} events and {MAX_UNIT_BYTES} bytes are allowed")]
    TooLarge,
    /// An event exceeds [`MAX_EVENT_BYTES`].
    #[error("the event is too large: {bytes} bytes, at most {max} are allowed", max = MAX_EVENT_BYTES)]
    EventTooLarge {
        /// The size of its payload, metadata and sealed fields together.
        bytes: usize,
    },
    /// The database rejected the data of this unit; other units of its batch are not affected.
    #[error("the database rejected the data of this unit (SQLSTATE {code})")]
    Refused {
        /// The SQLSTATE that the database gave.
        code: String,
    },
    /// The queue is full. Nothing was written; try again later.
    #[error("the append queue is full; try again later")]
    Busy,
    /// The database cannot be written to. Nothing was written; try again later.
    #[error("the event log is unavailable: {0}")]
    Unavailable(String),
    /// No answer came in time, because the queue was slow or the connection was lost: the unit may have been stored.
    #[error("the event log did not answer in time; the outcome is not known yet")]
    OutcomeUnknown,
    /// Another node has replaced the projections by this set; restart this node with the matching release.
    #[error("the projections have been replaced by set {0}; restart this node with the release that made it")]
    Superseded(String),
    /// Positions have had a new epoch since the decision, so its premises may be wrong; decide again.
    #[error("positions have a new epoch, so what was decided may rest on lost events; try again")]
    EpochChanged,
    /// This machine's clock is ahead of the database server's. Nothing was written.
    #[error(
        "this machine's clock is {0:.1} s ahead of the database server's: set both by NTP; writes are refused until they \
         agree within 5 s"
    )]
    ClockAhead(Seconds),
    /// This machine's clock is behind the database server's. Nothing was written.
    #[error(
        "this machine's clock is {0:.1} s behind the database server's: set both by NTP; writes are refused until they \
         agree within 5 s"
    )]
    ClockBehind(Seconds),
    /// This process has closed the log.
    #[error("the event log is closed")]
    Closed,
}

impl AppendError {
    /// The error for a clock with this offset in seconds; positive if it is ahead of the server's.
    #[must_use]
    pub fn clock(offset_seconds: f64) -> Self {
        let seconds = Seconds(offset_seconds.abs());
        if offset_seconds > 0.0 { Self::ClockAhead(seconds) } else { Self::ClockBehind(seconds) }
    }
}

/// The offset between two clocks, in seconds; compared by total order, so that errors can be `Eq`.
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
    /// No connection could be opened, or it leads to a replica or a read-only server.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The server, or a place in the connection pool, did not answer in time.
    #[error("PostgreSQL did not answer within {} s", .0.as_secs_f32())]
    TimedOut(Duration),
    /// The database has no head row, so it contains no log.
    #[error("the database holds no log")]
    NoLog,
    /// The database contains another log.
    #[error("the database holds log {found}, but this node was started on log {expected}")]
    AnotherLog {
        /// The log that this node serves.
        expected: LogId,
        /// The log that the database contains.
        found: LogId,
    },
    /// The server is the same as before, but an event that this node has seen is gone or has been replaced.
    #[error(
        "event {event_id} at position {position}, which this node has seen, is missing or replaced: the database has \
         lost events; restore them, or run `tenure log new-epoch --yes` to continue without them"
    )]
    LostEvents {
        /// The position at which the event was seen.
        position: i64,
        /// The event that is missing.
        event_id: EventId,
    },
    /// More servers that may not answer were tried than the pool has connections.
    #[error("every connection led to a replica or to a server that lacks events this node has seen")]
    Stale,
    /// The server rejected a statement, or the connection was lost.
    #[error("{}", statement_reason(.0))]
    Statement(#[from] tokio_postgres::Error),
}

/// Why the log could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The database cannot be reached, or no server may answer for the log.
    #[error("the event log cannot be read: {0}")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Positions are missing: the log is damaged or has been tampered with.
    #[error("the log jumps from position {after} to {found}: events are missing")]
    Gap {
        /// The last position read.
        after: i64,
        /// The next position that was found.
        found: i64,
    },
    /// The requested position belongs to another epoch: it may name another event now.
    #[error("positions of epoch {} are no longer valid: the log has epoch {epoch}; start again from its beginning or its end", from.epoch)]
    LogReplaced {
        /// The place that was requested.
        from: Checkpoint,
        /// The present epoch of the log.
        epoch: i64,
    },
    /// The requested place belongs to another log.
    #[error("the position belongs to log {}, but this is log {found}", from.log_id)]
    AnotherLog {
        /// The place that was requested.
        from: Checkpoint,
        /// The log that was read.
        found: LogId,
    },
    /// The requested position is higher than the newest.
    #[error("position {} does not exist yet; the newest is {newest}", from.position)]
    BeyondHead {
        /// The place that was requested.
        from: Checkpoint,
        /// The newest position of the log.
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
