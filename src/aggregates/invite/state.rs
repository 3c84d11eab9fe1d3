//! What decisions about an invite need to know.

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

/// An invite, as far as the log knows it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub enum Invite {
    /// Not created yet.
    #[default]
    Unknown,
    /// An offer, standing or ended.
    Created(Offer),
}

/// An offer of membership.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Offer {
    /// The tenant that invites.
    pub account: AccountId,
    /// Who invites.
    pub inviter: UserId,
    /// Whose it is, once known.
    pub bound: Option<UserId>,
    /// How a person who is not known yet must sign in.
    pub mode: UserMode,
    /// From when on it is dead.
    pub expires_at: Timestamp,
    /// What has become of it.
    pub status: Status,
    /// Whose key seals the name; an invite of before has one of its own.
    pub invitee_key: Option<InviteeKey>,
    /// The name as it was given.
    #[serde(skip)]
    pub invitee: Sealed<Username>,
}

/// What has become of an offer; that it died by the clock is not part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Status {
    /// Nobody has decided.
    Pending,
    /// Taken.
    Accepted,
    /// Not wanted.
    Declined,
    /// Taken back.
    Revoked,
}

impl Offer {
    /// Whether the offer stands at this time.
    #[must_use]
    pub fn is_pending(&self, at: Timestamp) -> bool {
        self.status == Status::Pending && at < self.expires_at
    }

    /// Whether the offer is this person's: bound to them, or to their name and way of signing in, and to nobody who had the
    /// name before them.
    #[must_use]
    pub fn is_for(&self, user: UserId, person: &Registered) -> bool {
        if let Some(bound) = self.bound {
            return bound == user;
        }
        let is_of_name = match self.invitee_key {
            Some(InviteeKey::Name { id, .. }) => person.name_keys.contains(&id),
            Some(InviteeKey::User(known)) => known == user,
            None => true,
        };
        is_of_name
            && self.mode == person.mode
            && matches!((self.invitee.open(), person.username.open()), (Some(mine), Some(theirs)) if mine.fold() == theirs.fold())
    }
}

impl Invite {
    /// The offer, if there is one.
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
