//! Why a command to an account is refused.

/// A rule of the account that forbids the command.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum AccountRefusal {
    /// There is no account with this ID, or it has been closed.
    #[error("there is no such account")]
    NotFound,
    /// The ID is taken by an open or closed account.
    #[error("the identifier is already in use")]
    AlreadyOpen,
    /// The user is not a member of the account.
    #[error("the user is not a member of the account")]
    NotAMember,
    /// The user owns the account, and the owner stays until ownership is transferred.
    #[error("the owner of an account cannot be removed; transfer ownership first")]
    CannotRemoveOwner,
    /// The account already has an account at NATS with another public key.
    #[error("the account already has a different public key at NATS")]
    NatsAccountMismatch,
}
