//! The commands to an invite.

use crate::aggregates::user::{UserMode, Username};
use crate::clock::Timestamp;
use crate::ids::{AccountId, UserId};

use super::events::InviteeKey;

/// A command to an invite. The operation that sends it authorizes the caller.
#[derive(Clone, Debug)]
pub enum InviteCommand {
    /// Creates an invite.
    Create(NewInvite),
    /// Binds the invite to the user who has taken the invited name.
    Bind {
        /// The user who has the name.
        user: UserId,
        /// When the invite is bound.
        at: Timestamp,
    },
    /// The invitee accepts.
    Accept {
        /// The user who accepts.
        user: UserId,
        /// When the user accepts.
        at: Timestamp,
    },
    /// The invitee declines.
    Decline {
        /// The user who declines.
        user: UserId,
        /// When the user declines.
        at: Timestamp,
    },
    /// The account revokes the invite.
    Revoke {
        /// When the invite is revoked.
        at: Timestamp,
    },
    /// Seals the name in an invite of version 1 under this key instead of the invite's own. Changes nothing if that has
    /// been done or the name is unreadable.
    ResealInvitee {
        /// The user or the name key to seal the name under.
        invitee_key: InviteeKey,
        /// When the name is resealed.
        at: Timestamp,
    },
}

/// The data of a new invite.
#[derive(Clone, Debug)]
pub struct NewInvite {
    /// The account that the invite is to.
    pub account: AccountId,
    /// The user who sends the invite.
    pub inviter: UserId,
    /// The invited username, as given.
    pub invitee: Username,
    /// The user with that name; none if the name is not registered.
    pub bound: Option<UserId>,
    /// The key that seals the name.
    pub invitee_key: InviteeKey,
    /// How an invitee who is not registered yet must sign in.
    pub mode: UserMode,
    /// When the invite is created.
    pub at: Timestamp,
    /// When the invite expires.
    pub expires_at: Timestamp,
}
