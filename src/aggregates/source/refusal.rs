//! Why a command to a source or a pipe is refused.

use crate::aggregates::sentences::{self, Resource};

/// A rule of the source that forbids the command.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SourceRefusal {
    /// There is no source with this ID, or it was deleted.
    #[error("{}", sentences::no_such(Resource::Source))]
    NotFound,
    /// The ID is taken by another source, present or deleted.
    #[error("{}", sentences::IDENTIFIER_IN_USE)]
    AlreadyCreated,
    /// The source has no created pipe with this name. Automatic pipes do not count.
    #[error("{}", sentences::no_such(Resource::Pipe))]
    PipeNotFound,
    /// The source already has a pipe with this name.
    #[error("{}", sentences::PIPE_NAME_TAKEN)]
    PipeNameTaken,
}
