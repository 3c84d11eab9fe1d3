//! The errors of opening an engine.

use crate::credentials::key_ring::KeyRingError;
use crate::dispatch::DispatchError;
use crate::event_log::{AppendError, PrimaryError, ReadError};
use crate::genesis::GenesisError;
use crate::operations::Refusal;
use crate::postgres::ConnectError;
use crate::postgres::migrate::MigrateError;
use crate::replay::RebuildError;

/// Why an engine cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The schema could not be migrated to this release.
    #[error(transparent)]
    Migrate(#[from] MigrateError),
    /// No connection to the database could be opened.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The server is not the primary of this log, or did not answer in time.
    #[error(transparent)]
    Primary(#[from] PrimaryError),
    /// The projections of another release, or those of a torn dump, could not be rebuilt.
    #[error(transparent)]
    Rebuild(#[from] RebuildError),
    /// This machine's clock differs too much from the database server's.
    #[error(transparent)]
    Clock(AppendError),
    /// The key ring cannot be opened, for example because the master key is missing.
    #[error(transparent)]
    KeyRing(#[from] KeyRingError),
    /// The log cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Users on the list of forgotten users could not be forgotten again.
    #[error("the list of forgotten users could not be applied to the log: {0}")]
    Forgettings(Box<DispatchError<Refusal>>),
    /// The events that an upgrade appends once could not be stored.
    #[error("the log could not be upgraded to this release: {0}")]
    Upgrade(Box<DispatchError<Refusal>>),
    /// Event 1 could not be written to a new log.
    #[error(transparent)]
    Genesis(#[from] GenesisError),
}
