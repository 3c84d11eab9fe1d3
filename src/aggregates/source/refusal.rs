//! Why a command to a source or a pipe is refused.

/// A rule of the source that forbids the command.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SourceRefusal {
    /// There is no source with this ID, or it was deleted.
    #[error("there is no such source")]
    NotFound,
    /// The ID is taken by another source, present or deleted.
    #[error("the identifier is already in use")]
    AlreadyCreated,
    /// The source has no created pipe with this name. Automatic pipes do not count.
    #[error("there is no such pipe")]
    PipeNotFound,
    /// The source already has a pipe with this name.
    #[error("the source already has a pipe with this name")]
    PipeNameTaken,
}
