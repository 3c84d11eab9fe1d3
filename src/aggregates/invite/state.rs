//! The state of an invite that decisions need.

use cqrs_es::Aggregate;
use serde::{Deserialize, Serialize};

use super::commands::InviteCommand;
use super::events::{InviteEvent, InviteeKey, STREAM_TYPE};
use super::refusal::InviteRefusal;
use crate::aggregates::handle_by_decide;
use crate::aggregates::user::{Registered, UserMode, Username};
use crate::clock::Timestamp;
use crate::ids::{AccountId, UserId};
use crate::sealing::{FieldVisitor, SealError, Sealed, SealedFields, Subject};

/// An invite, folded from the events of the stream.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub enum Invite {
    /// The stream has no events.
    #[default]
    Unknown,
    /// The invite was created; it may have ended.
    Created(Offer),
}

/// An offer of membership, pending or not.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Offer {
    /// The account that the invite is to.
    pub account: AccountId,
    /// The user who sent the invite.
    pub inviter: UserId,
    /// The user whom the invite is bound to; none while no user is known to have the name.
    pub bound: Option<UserId>,
    /// How an invitee who is not registered yet must sign in.
    pub mode: UserMode,
    /// When the invite expires.
    pub expires_at: Timestamp,
    /// Whether the invite has been accepted, declined or revoked.
    pub status: Status,
    /// The key that seals the name; none for an invite of version 1, which has a data key of its own.
    pub invitee_key: Option<InviteeKey>,
    /// The invited username, as given.
    #[serde(skip)]
    pub invitee: Sealed<Username>,
}

/// The status of an offer. Expiry is not part of it; see [`Offer::is_pending`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Status {
    /// Not decided yet; may have expired.
    Pending,
    /// The invitee accepted.
    Accepted,
    /// The invitee declined.
    Declined,
    /// The account revoked it, or the invitee was forgotten (version 1).
    Revoked,
}

impl Offer {
    /// Whether the offer is undecided and has not expired at this time.
    #[must_use]
    pub fn is_pending(&self, at: Timestamp) -> bool {
        self.status == Status::Pending && at < self.expires_at
    }

    /// Whether the offer is for this user: bound to them, or sent to their name and mode and not to another user who
    /// had the name earlier.
    #[must_use]
    pub fn is_for(&self, user: UserId, person: &Registered) -> bool {
        if let Some(bound) = self.bound {
            return bound == user;
        }
        let is_of_name = match self.invitee_key {
            Some(InviteeKey::Name { id, .. }) => person.name_keys.contains(&id),
            Some(InviteeKey::User(known)) => known == user,
            // Version 1 has no name key: name and mode decide.
            None => true,
        };
        is_of_name
            && self.mode == person.mode
            && matches!((self.invitee.open(), person.username.open()), (Some(mine), Some(theirs)) if mine.fold() == theirs.fold())
    }
}

impl Invite {
    /// The offer; none if unknown.
    #[must_use]
    pub const fn offer(&self) -> Option<&Offer> {
        match self {
            Self::Created(offer) => Some(offer),
            Self::Unknown => None,
        }
    }
}

impl Aggregate for Invite {
    const TYPE: &'static str = STREAM_TYPE;
    type Command = InviteCommand;
    type Event = InviteEvent;
    type Error = InviteRefusal;
    type Services = ();

    handle_by_decide!();

    fn apply(&mut self, event: InviteEvent) {
        match (&mut *self, event) {
            (
                _,
                InviteEvent::Created {
                    account, inviter, bound, mode, expires_at, invitee_key, invitee, ..
                },
            ) => {
                *self = Self::Created(Offer {
                    account,
                    inviter,
                    bound,
                    mode,
                    expires_at,
                    status: Status::Pending,
                    invitee_key,
                    invitee,
                });
            }
            (Self::Created(offer), InviteEvent::Bound { user, .. }) => offer.bound = Some(user),
            (Self::Created(offer), InviteEvent::Accepted(_)) => offer.status = Status::Accepted,
            (Self::Created(offer), InviteEvent::Declined(_)) => offer.status = Status::Declined,
            (Self::Created(offer), InviteEvent::Revoked(_)) => offer.status = Status::Revoked,
            (Self::Created(offer), InviteEvent::InviteeForgotten(end)) => {
                if end.was_pending {
                    offer.status = Status::Revoked;
                }
                offer.invitee = Sealed::Unreadable;
            }
            (Self::Created(offer), InviteEvent::InviteeResealed { user, invitee_key, invitee, .. }) => {
                offer.bound = user;
                offer.invitee_key = Some(invitee_key);
                offer.invitee = invitee;
            }
            (Self::Unknown, _) => {}
        }
    }
}

impl SealedFields for Invite {
    fn visit_sealed(&mut self, owner: Subject, visitor: &mut dyn FieldVisitor) -> Result<(), SealError> {
        match self {
            Self::Created(offer) => {
                let subject = offer.invitee_key.map_or(owner, InviteeKey::subject);
                visitor.field("invitee", subject, &mut offer.invitee)
            }
            Self::Unknown => Ok(()),
        }
    }
}
