//! Why a command to an invite is refused.

/// A rule of the invite that forbids the command.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum InviteRefusal {
    /// There is no invite with this ID.
    #[error("there is no such invite")]
    NotFound,
    /// The ID is taken by another invite.
    #[error("the identifier is already in use")]
    AlreadyCreated,
    /// The invite was accepted, declined or revoked, or has expired.
    #[error("the invite is not pending")]
    NotPending,
}
