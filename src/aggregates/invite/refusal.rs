//! Why a command to an invite is refused.

/// What is true of the invite, so that the command cannot be.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum InviteRefusal {
    /// There is no such invite.
    #[error("there is no such invite")]
    NotFound,
    /// The identifier belongs to an invite already.
    #[error("the identifier is in use already")]
    AlreadyCreated,
    /// It has been decided, taken back, or is dead by the clock.
    #[error("the invite is not pending")]
    NotPending,
}
