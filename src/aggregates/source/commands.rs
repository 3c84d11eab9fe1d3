//! What can be asked of a source and of its pipes.

use super::values::{Handle, PipeName, Retention, SourceKind};
use crate::clock::Timestamp;
use crate::ids::{AccountId, PipeId, UserId};

/// A command to a source. Who may ask is decided by whoever dispatches it.
#[derive(Clone, Debug)]
pub enum SourceCommand {
    /// A new source.
    Create(NewSource),
    /// The source ends, with its pipes.
    Delete {
        /// When.
        at: Timestamp,
    },
    /// A new pipe.
    CreatePipe(NewPipe),
    /// A pipe keeps something else from now on.
    ChangeRetention {
        /// Which.
        name: PipeName,
        /// What it keeps.
        retention: Retention,
        /// When.
        at: Timestamp,
    },
    /// A pipe ends.
    DeletePipe {
        /// Which.
        name: PipeName,
        /// When.
        at: Timestamp,
    },
}

/// Everything about a new source.
#[derive(Clone, Debug)]
pub struct NewSource {
    /// The tenant that it is in.
    pub account: AccountId,
    /// Who makes it.
    pub created_by: UserId,
    /// What it is called.
    pub handle: Handle,
    /// What it is.
    pub kind: SourceKind,
    /// When.
    pub at: Timestamp,
}

/// Everything about a new pipe.
#[derive(Clone, Debug)]
pub struct NewPipe {
    /// Its identifier.
    pub id: PipeId,
    /// Who makes it.
    pub created_by: UserId,
    /// What it is called.
    pub name: PipeName,
    /// What it keeps.
    pub retention: Retention,
    /// When.
    pub at: Timestamp,
}
