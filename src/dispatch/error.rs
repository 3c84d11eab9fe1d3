//! Why a command was not carried out.

use crate::codec::CodecError;
use crate::event_log::{AppendError, ReadError};
use crate::projections::QueryError;

/// Why a command was not carried out; only [`AppendError::OutcomeUnknown`] within leaves that open.
#[derive(Debug, thiserror::Error)]
pub enum DispatchError<R: std::error::Error + 'static> {
    /// A rule forbids it.
    #[error(transparent)]
    Refused(R),
    /// Others kept changing what the decision reads; nothing was written; try again later.
    #[error("too many others change the same things at this moment; try again later")]
    Contended,
    /// The idempotency key belongs to another request.
    #[error("this idempotency key was used for a request with another body")]
    KeyReused,
    /// The log or the database is in the way.
    #[error(transparent)]
    Failed(#[from] Failure),
}

/// What is in the way of a decision, independently of its rules.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The unit could not be stored.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// The state could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The state was read and not understood.
    #[error(transparent)]
    Codec(#[from] CodecError),
}

impl From<QueryError> for Failure {
    fn from(error: QueryError) -> Self {
        match error {
            QueryError::Unavailable(error) => Self::Read(error),
            QueryError::NotFound => {
                Self::Read(ReadError::Unavailable("a row that must exist is missing".into()))
            }
        }
    }
}

/// Why a decision stops.
#[derive(Debug)]
pub enum DecideError<R> {
    /// A rule forbids it.
    Refused(R),
    /// Something is in the way.
    Failed(Failure),
}

impl<R, F: Into<Failure>> From<F> for DecideError<R> {
    fn from(failure: F) -> Self {
        Self::Failed(failure.into())
    }
}
