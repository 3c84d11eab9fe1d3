//! Why an engine cannot be opened.

use crate::credentials::key_ring::KeyRingError;
use crate::dispatch::DispatchError;
use crate::event_log::{AppendError, PrimaryError, ReadError};
use crate::genesis::GenesisError;
use crate::operations::Refusal;
use crate::postgres::ConnectError;
use crate::postgres::migrate::MigrateError;
use crate::replay::fold::FoldError;

/// Why an engine cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The database could not be brought up to this release.
    #[error(transparent)]
    Migrate(#[from] MigrateError),
    /// There is no connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The server does not answer for the log.
    #[error(transparent)]
    Primary(#[from] PrimaryError),
    /// The projections of another release could not be replaced.
    #[error(transparent)]
    Fold(#[from] FoldError),
    /// This machine's clock and the database server's differ.
    #[error(transparent)]
    Clock(AppendError),
    /// The keys cannot be opened.
    #[error(transparent)]
    KeyRing(#[from] KeyRingError),
    /// The log cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// People who had been forgotten could not be forgotten again.
    #[error("the list of the forgotten could not be brought together with the log: {0}")]
    Forgettings(Box<DispatchError<Refusal>>),
    /// The events that an upgrade adds once could not be stored.
    #[error("the log could not be brought up to this release: {0}")]
    Upgrade(Box<DispatchError<Refusal>>),
    /// The first event could not be written.
    #[error(transparent)]
    Genesis(#[from] GenesisError),
}
