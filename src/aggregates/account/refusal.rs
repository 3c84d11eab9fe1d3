//! Why a command to a tenant is refused.

/// What is true of the account, so that the command cannot be.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum AccountRefusal {
    /// There is no such account, or it has been closed.
    #[error("there is no such account")]
    NotFound,
    /// The identifier belongs to an account already.
    #[error("the account is open already")]
    AlreadyOpen,
    /// The user does not belong to the account.
    #[error("the user is not a member of the account")]
    NotAMember,
    /// The owner stays until ownership is transferred.
    #[error("the owner of an account cannot be removed; transfer the ownership first")]
    CannotRemoveOwner,
    /// The tenant has an account at NATS already, with another public key.
    #[error("the account has another public key at NATS")]
    NatsAccountMismatch,
}
