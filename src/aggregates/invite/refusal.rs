//! Why a command to an invite is refused.

use crate::aggregates::sentences::{self, Resource};

/// A rule of the invite that forbids the command.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum InviteRefusal {
    /// There is no invite with this ID.
    #[error("{}", sentences::no_such(Resource::Invite))]
    NotFound,
    /// The ID is taken by another invite.
    #[error("{}", sentences::IDENTIFIER_IN_USE)]
    AlreadyCreated,
    /// The invite was accepted, declined or revoked, or has expired.
    #[error("{}", sentences::INVITE_NOT_PENDING)]
    NotPending,
}
