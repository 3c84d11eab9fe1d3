//! Why a command to a session is refused.

/// A rule of the session that forbids the command.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SessionRefusal {
    /// There is no session with this ID.
    #[error("there is no such session")]
    NotFound,
    /// The ID is taken by another session.
    #[error("the identifier is already in use")]
    IdentifierInUse,
}
