//! Why a replay failed.

use std::io;

use crate::codec::CodecError;
use crate::credentials::key_ring::KeyLoadError;
use crate::event_log::{PrimaryError, ReadError};
use crate::postgres::copy::CopyError;
use crate::postgres::{ConnectError, statement_reason};
use crate::sealing::SealError;

/// Why a replay failed. The live tables are unchanged, but for [`ReplayError::InDoubt`].
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// No connection could be opened.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The server may not answer for the log, or stopped answering.
    #[error(transparent)]
    Primary(#[from] PrimaryError),
    /// The log or the keys could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The keys could not be read.
    #[error(transparent)]
    Keys(#[from] KeyLoadError),
    /// An event in the log cannot be decoded.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// The database refused a statement.
    #[error("{}", statement_failed(.0))]
    Statement(#[source] tokio_postgres::Error),
    /// The connection was lost while the swap was committed.
    #[error(
        "the connection to the database was lost while the fresh tables took their place ({}): they have, or the live tables are \
         unchanged; `tenure audit diff` says whether they are right",
        statement_reason(.0)
    )]
    InDoubt(#[source] tokio_postgres::Error),
    /// Somebody holds a lock on a table for longer than the replay waits.
    #[error("the tables are locked by {0}; try again")]
    Locked(String),
    /// Rows could not be read from the database.
    #[error("the database could not be read: {0}")]
    Copy(#[from] CopyError),
    /// Positions have had a new epoch since the replay began, so what it read may be lost.
    #[error("positions have a new epoch since the replay began; start it again")]
    EpochChanged,
    /// A rebuild has replaced tables while they were read.
    #[error("a rebuild has replaced the projections while they were read; start again")]
    Swapped,
    /// Another release has replaced the projections since the replay began.
    #[error(
        "the projections have been replaced by set {0} since the replay began; use the release that made it"
    )]
    SetChanged(String),
    /// The log has a gap, or ended before the position that it had.
    #[error("event {position} is missing from the log; `tenure doctor` says more")]
    Gap {
        /// The position that is missing.
        position: i64,
    },
    /// An event's stream type is one of Tenure's, but its stream id is not a UUID.
    #[error("event {position} belongs to no aggregate of Tenure: its stream id `{stream}` is not a UUID")]
    Stream {
        /// The position of the event.
        position: i64,
        /// The stream id of the event.
        stream: String,
    },
    /// An event changes or deletes a row that is not there, or inserts one that is: no commit can have stored it.
    #[error("event {position} does not fit the events before it: it would {change} of `{table}`")]
    Inconsistent {
        /// The position of the event.
        position: i64,
        /// The table of the row.
        table: &'static str,
        /// What the event would do.
        change: &'static str,
    },
    /// A data key is missing although no event has destroyed it.
    #[error(
        "the data key of {subject} is missing, but no event has destroyed it: restore log.data_key from a backup, or what \
         is sealed under it stays unreadable"
    )]
    LostKey {
        /// The subject of the key, such as `user:…`.
        subject: String,
    },
    /// A projection panicked.
    #[error(
        "a projection of this release failed on event {position}; nothing was replaced. This is a bug: please report it, and \
         use the release before until it is mended"
    )]
    Panicked {
        /// The position of the event.
        position: i64,
    },
    /// Part of the replay panicked.
    #[error(
        "a part of the replay failed; nothing was replaced. This is a bug: please report it with what the log output says, and use the \
         release before until it is mended"
    )]
    TaskFailed,
    /// A temporary file cannot be written or read.
    #[error("a temporary file in {} failed: {source}; free space there, or set TMPDIR", std::env::temp_dir().display())]
    Temporary {
        /// The error of the operating system.
        source: io::Error,
    },
    /// A temporary file or a sealed field does not open.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// A value does not have the type of its column: a bug in a projection.
    #[error("a value of a projection cannot be encoded: {0}")]
    Value(String),
    /// The server sent bytes that are no rows of a binary COPY.
    #[error("the server sent rows that cannot be read")]
    Malformed,
}

impl ReplayError {
    pub(super) const fn temporary(source: io::Error) -> Self {
        Self::Temporary { source }
    }

    /// Whether a lock could not be had in time.
    pub(super) fn is_lock(&self) -> bool {
        matches!(self, Self::Statement(error) | Self::Copy(CopyError::Statement(error)) if is_lock(error))
    }

    /// The error of a task that did not end well. What it panicked with is in the log output.
    #[allow(clippy::needless_pass_by_value)]
    pub(super) fn task(_: tokio::task::JoinError) -> Self {
        Self::TaskFailed
    }

    /// Whether the replay may succeed later, without a change of its setup.
    #[must_use]
    pub fn may_succeed_later(&self) -> bool {
        match self {
            Self::Connect(_)
            | Self::InDoubt(_)
            | Self::Primary(_)
            | Self::Read(_)
            | Self::Keys(KeyLoadError::Read(_))
            | Self::Codec(CodecError::Keys(KeyLoadError::Read(_)))
            | Self::EpochChanged
            | Self::Swapped
            | Self::Locked(_)
            | Self::Copy(CopyError::TimedOut)
            | Self::Temporary { .. } => true,
            other => crate::postgres::is_outage(other),
        }
    }
}

fn statement_failed(error: &tokio_postgres::Error) -> String {
    let reason = statement_reason(error);
    if error.as_db_error().is_some() {
        format!("the database refused a statement of the replay: {reason}")
    } else {
        format!(
            "the connection to the database was lost during the replay ({reason}); the live tables are unchanged, and the \
             log of PostgreSQL says more"
        )
    }
}

impl From<tokio_postgres::Error> for ReplayError {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Statement(error)
    }
}

/// Whether a lock could not be had in time.
pub(super) fn is_lock(error: &tokio_postgres::Error) -> bool {
    // PostgreSQL does not lock the catalog rows that it changes: of two sessions that change one, the second fails.
    let is_overtaken =
        || error.as_db_error().is_some_and(|refused| refused.message() == "tuple concurrently updated");
    error.code().is_some_and(|code| matches!(code.code(), "55P03" | "40P01")) || is_overtaken()
}
