//! The commands to a source and its pipes.

use super::values::{Handle, PipeName, Retention, SourceKind};
use crate::clock::Timestamp;
use crate::ids::{AccountId, PipeId, UserId};

/// A command to a source. The operation that sends it authorizes the caller.
#[derive(Clone, Debug)]
pub enum SourceCommand {
    /// Creates a source.
    Create(NewSource),
    /// Deletes the source and its pipes.
    Delete {
        /// When the source is deleted.
        at: Timestamp,
    },
    /// Creates a pipe.
    CreatePipe(NewPipe),
    /// Replaces the retention of a pipe.
    ChangeRetention {
        /// The name of the pipe.
        name: PipeName,
        /// The new retention, which replaces the old one as a whole.
        retention: Retention,
        /// When the retention changes.
        at: Timestamp,
    },
    /// Deletes a pipe.
    DeletePipe {
        /// The name of the pipe.
        name: PipeName,
        /// When the pipe is deleted.
        at: Timestamp,
    },
}

/// The data of a new source.
#[derive(Clone, Debug)]
pub struct NewSource {
    /// The account that the source belongs to.
    pub account: AccountId,
    /// The user who creates the source.
    pub created_by: UserId,
    /// The handle, unique within the account.
    pub handle: Handle,
    /// What kind of actor the source is.
    pub kind: SourceKind,
    /// When the source is created.
    pub at: Timestamp,
}

/// The data of a new pipe.
#[derive(Clone, Debug)]
pub struct NewPipe {
    /// The ID of the new pipe.
    pub id: PipeId,
    /// The user who creates the pipe.
    pub created_by: UserId,
    /// The pipe name, unique within the source.
    pub name: PipeName,
    /// How long and how much the pipe keeps.
    pub retention: Retention,
    /// When the pipe is created.
    pub at: Timestamp,
}
