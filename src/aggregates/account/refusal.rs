//! Why a command to an account is refused.

use crate::aggregates::sentences::{self, Resource};

/// A rule of the account that forbids the command.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum AccountRefusal {
    /// There is no account with this ID, or it has been closed.
    #[error("{}", sentences::no_such(Resource::Account))]
    NotFound,
    /// The ID is taken by an open or closed account.
    #[error("{}", sentences::IDENTIFIER_IN_USE)]
    AlreadyOpen,
    /// The user is not a member of the account.
    #[error("{}", sentences::no_such(Resource::Member))]
    NotAMember,
    /// The user owns the account, and the owner stays until ownership is transferred.
    #[error("{}", sentences::CANNOT_REMOVE_OWNER)]
    CannotRemoveOwner,
    /// The account already has an account at NATS with another public key.
    #[error("{}", sentences::NATS_ACCOUNT_MISMATCH)]
    NatsAccountMismatch,
}
