//! Why a command to a source or to a pipe is refused.

/// What is true of the source, so that the command cannot be.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SourceRefusal {
    /// There is no such source.
    #[error("there is no such source")]
    NotFound,
    /// The identifier belongs to a source already.
    #[error("the identifier is in use already")]
    AlreadyCreated,
    /// There is no such pipe, or the source has it by itself.
    #[error("there is no such pipe")]
    PipeNotFound,
    /// The source has a pipe of this name.
    #[error("the name of the pipe is taken")]
    PipeNameTaken,
}
