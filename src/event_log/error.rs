//! What can go wrong with the log, told apart by what the caller can do about it.

use super::event::StreamId;
use super::unit::{ClaimKey, MAX_UNIT_BYTES, MAX_UNIT_EVENTS};

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
    /// The log has been closed by this process.
    #[error("the event log is closed")]
    Closed,
}

/// Why the log could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The database cannot be reached or refuses to answer.
    #[error("the event log cannot be read")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Positions are missing: the log has been tampered with or damaged.
    #[error("the log jumps from position {after} to {found}: events are missing")]
    Gap {
        /// The last position read.
        after: i64,
        /// The next that was found.
        found: i64,
    },
    /// The log behind the connection is not the one that was followed.
    #[error("this is not the log that was followed: {0}")]
    AnotherLog(String),
}

impl From<tokio_postgres::Error> for ReadError {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Unavailable(Box::new(error))
    }
}

impl From<deadpool_postgres::PoolError> for ReadError {
    fn from(error: deadpool_postgres::PoolError) -> Self {
        Self::Unavailable(Box::new(error))
    }
}
