//! Why a command to a session is refused.

/// What is true of it, so that the command cannot be.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SessionRefusal {
    /// There is no such thing.
    #[error("there is no such session")]
    NotFound,
    /// The identifier is in use already.
    #[error("the identifier is in use already")]
    IdentifierInUse,
}
