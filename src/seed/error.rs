//! Why generated data could not be stored.

use crate::aggregates::field::Invalid;
use crate::codec::CodecError;
use crate::event_log::{BulkError, ReadError};

/// Why the data could not be generated or stored.
#[derive(Debug, thiserror::Error)]
pub enum SeedError {
    /// The log cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The log refused a chunk, or the database failed.
    #[error(transparent)]
    Bulk(#[from] BulkError),
    /// An event cannot be encoded.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// Making the data panicked.
    #[error(
        "making the data failed: the log output says more; what was reported before is in the log. This is a bug: please report it"
    )]
    Failed,
    /// A generated name is not valid.
    #[error(transparent)]
    Invalid(#[from] Invalid),
}
