//! Why a bulk append failed.

use std::time::Duration;

use super::error::{AppendError, PrimaryError};
use super::wire::EncodeError;
use crate::postgres::{ConnectError, statement_reason};

/// How long one bulk append may take. Slightly longer than the server's statement timeout (115 s), so that a slow
/// server reports the timeout itself.
pub(super) const BULK_TIMEOUT: Duration = Duration::from_mins(2);

/// Why a bulk append failed. Nothing of it was stored, except possibly after [`BulkError::TimedOut`] and
/// [`BulkError::Unavailable`].
#[derive(Debug, thiserror::Error)]
pub enum BulkError {
    /// No connection could be opened.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// Another release has replaced the projections by this set.
    #[error("the projections have been replaced by set {0}")]
    Superseded(String),
    /// The clocks differ, positions have a new epoch, or an event is too large.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// The database did not answer in time; it is not known whether the units were stored.
    #[error("the database did not answer the bulk append within {} s", BULK_TIMEOUT.as_secs())]
    TimedOut,
    /// The server may not answer for the log.
    #[error(transparent)]
    Primary(#[from] PrimaryError),
    /// The database rejected the units: a stream, name or row already exists, or it cannot write.
    #[error("the database rejected the bulk append: {0}")]
    Refused(String),
    /// The connection was lost, or the server cannot store anything at the moment.
    #[error("the database failed during the bulk append: {0}")]
    Unavailable(String),
}

impl From<EncodeError> for BulkError {
    fn from(error: EncodeError) -> Self {
        Self::Refused(format!("a value cannot be encoded: {error}"))
    }
}

impl From<tokio_postgres::Error> for BulkError {
    fn from(error: tokio_postgres::Error) -> Self {
        let reason = statement_reason(&error);
        // Without an SQLSTATE the connection was lost; these classes are those of connections, resources and a stop of the server.
        let is_outage =
            error.code().is_none_or(|code| matches!(code.code().get(..2), Some("08" | "53" | "57")));
        if is_outage { Self::Unavailable(reason) } else { Self::Refused(reason) }
    }
}
