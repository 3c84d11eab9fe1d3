//! What decisions about an invite need to know.

use cqrs_es::Aggregate;
use serde::{Deserialize, Serialize};

use super::commands::InviteCommand;
use super::events::InviteEvent;
use super::refusal::InviteRefusal;
use crate::aggregates::handle_by_decide;
use crate::aggregates::user::{UserMode, Username};
use crate::clock::Timestamp;
use crate::event_log::seal::{FieldVisitor, SealError, Sealed, SealedFields, Subject};
use crate::ids::{AccountId, UserId};

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
    /// Whether the person has been forgotten.
    pub forgotten: bool,
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

    /// Whether the offer is this person's: bound to them, or to their name and way of signing in.
    #[must_use]
    pub fn is_for(&self, user: UserId, username: Option<&Username>, mode: UserMode) -> bool {
        match self.bound {
            Some(bound) => bound == user,
            None => {
                self.mode == mode
                    && matches!((self.invitee.open(), username), (Some(mine), Some(theirs)) if mine.fold() == theirs.fold())
            }
        }
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
    const TYPE: &'static str = "invite";
    type Command = InviteCommand;
    type Event = InviteEvent;
    type Error = InviteRefusal;
    type Services = ();

    handle_by_decide!();

    fn apply(&mut self, event: InviteEvent) {
        match (&mut *self, event) {
            (_, InviteEvent::Created { account, inviter, bound, mode, expires_at, invitee, .. }) => {
                *self = Self::Created(Offer {
                    account,
                    inviter,
                    bound,
                    mode,
                    expires_at,
                    status: Status::Pending,
                    forgotten: false,
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
                offer.forgotten = true;
                offer.invitee = Sealed::Unreadable;
            }
            (Self::Unknown, _) => {}
        }
    }
}

impl SealedFields for Invite {
    fn visit_sealed(&mut self, owner: Subject, visitor: &mut dyn FieldVisitor) -> Result<(), SealError> {
        match self {
            Self::Created(offer) => visitor.field("invitee", owner, &mut offer.invitee),
            Self::Unknown => Ok(()),
        }
    }
}
