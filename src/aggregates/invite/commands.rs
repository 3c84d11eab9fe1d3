//! What can be asked of an invite.

use crate::aggregates::user::{UserMode, Username};
use crate::clock::Timestamp;
use crate::ids::{AccountId, UserId};

use super::events::InviteeKey;

/// A command to an invite. Who may ask is decided by whoever dispatches it.
#[derive(Clone, Debug)]
pub enum InviteCommand {
    /// A new offer.
    Create(NewInvite),
    /// The person it is addressed to has signed up.
    Bind {
        /// Who.
        user: UserId,
        /// When.
        at: Timestamp,
    },
    /// The person takes the offer.
    Accept {
        /// Who.
        user: UserId,
        /// When.
        at: Timestamp,
    },
    /// The person does not want it.
    Decline {
        /// Who.
        user: UserId,
        /// When.
        at: Timestamp,
    },
    /// The account takes it back.
    Revoke {
        /// When.
        at: Timestamp,
    },
    /// Seals the name of an invite of version 1 under this key instead of the invite's own.
    ResealInvitee {
        /// Whose key.
        invitee_key: InviteeKey,
        /// When.
        at: Timestamp,
    },
}

/// Everything about a new invite.
#[derive(Clone, Debug)]
pub struct NewInvite {
    /// The tenant that invites.
    pub account: AccountId,
    /// Who invites.
    pub inviter: UserId,
    /// The name as it was given.
    pub invitee: Username,
    /// The person of that name, if there is one already.
    pub bound: Option<UserId>,
    /// Whose key seals the name.
    pub invitee_key: InviteeKey,
    /// How a person who has not signed up yet must sign in.
    pub mode: UserMode,
    /// When.
    pub at: Timestamp,
    /// From when on it is dead.
    pub expires_at: Timestamp,
}
