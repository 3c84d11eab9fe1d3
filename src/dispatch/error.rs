//! The errors of the dispatcher: refused, contended, or failed.

use crate::codec::CodecError;
use crate::event_log::{AppendError, ReadError};
use crate::projections::QueryError;

/// Why a command was not carried out. Only a nested [`AppendError::OutcomeUnknown`] leaves open whether it was.
#[derive(Debug, thiserror::Error)]
pub enum DispatchError<R: std::error::Error + 'static> {
    /// A business rule forbids the command.
    #[error(transparent)]
    Refused(R),
    /// Other commands kept changing what the decision reads. Nothing was written; the caller can try again later.
    #[error("too many concurrent changes to the same data; try again later")]
    Contended,
    /// The idempotency key was used for a request with a different body.
    #[error("this idempotency key was used for a request with another body; use a new key")]
    KeyReused,
    /// The log or the database failed.
    #[error(transparent)]
    Failed(#[from] Failure),
}

/// A technical failure of a decision, independent of its business rules.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The unit could not be appended to the log.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// The log or a projection could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A stored event could not be decoded, or a new one could not be encoded.
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

/// Why one decision of an operation ended without an answer.
#[derive(Debug)]
pub enum DecideError<R> {
    /// A business rule forbids the command. Confirmed against what was read before the caller sees it.
    Refused(R),
    /// The log or a projection could not be read, or what was read could not be decoded.
    Failed(Failure),
}

impl<R, F: Into<Failure>> From<F> for DecideError<R> {
    fn from(failure: F) -> Self {
        Self::Failed(failure.into())
    }
}
