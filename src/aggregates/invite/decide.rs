//! The rules of an invite.

use super::commands::InviteCommand;
use super::events::{InviteEnd, InviteEvent, InviteeKey};
use super::refusal::InviteRefusal;
use super::state::{Invite, Offer, Status};
use crate::aggregates::EventSourced;
use crate::clock::Timestamp;
use crate::ids::UserId;

impl EventSourced for Invite {
    const STATE_VERSION: i32 = 2;

    fn decide(&self, command: InviteCommand) -> Result<Vec<InviteEvent>, InviteRefusal> {
        match (self, command) {
            (Self::Unknown, InviteCommand::Create(new)) => Ok(vec![InviteEvent::Created {
                account: new.account,
                inviter: new.inviter,
                bound: new.bound,
                mode: new.mode,
                at: new.at,
                expires_at: new.expires_at,
                invitee_key: Some(new.invitee_key),
                invitee: new.invitee.into(),
            }]),
            (Self::Created(_), InviteCommand::Create(_)) => Err(InviteRefusal::AlreadyCreated),
            (Self::Unknown, _) => Err(InviteRefusal::NotFound),
            (Self::Created(offer), command) => decide_created(offer, &command),
        }
    }
}

fn decide_created(offer: &Offer, command: &InviteCommand) -> Result<Vec<InviteEvent>, InviteRefusal> {
    let end = |user, at| InviteEnd {
        account: offer.account,
        user,
        at,
        was_pending: offer.status == Status::Pending,
        was_bound: offer.bound.is_some(),
        invitee_key: offer.invitee_key.map(InviteeKey::known),
        invitee: offer.invitee.clone(),
    };
    let pending = |at: Timestamp| if offer.is_pending(at) { Ok(()) } else { Err(InviteRefusal::NotPending) };
    let decided = |user: UserId, at| {
        pending(at)?;
        Ok(end(Some(user), at))
    };
    Ok(vec![match *command {
        InviteCommand::Create(_) => return Err(InviteRefusal::AlreadyCreated),
        InviteCommand::Bind { .. } if offer.bound.is_some() => return Ok(vec![]),
        InviteCommand::Bind { user, at } => {
            pending(at)?;
            InviteEvent::Bound {
                account: offer.account,
                user,
                at,
                expires_at: offer.expires_at,
                invitee_key: offer.invitee_key.map(InviteeKey::known),
                invitee: offer.invitee.clone(),
            }
        }
        InviteCommand::Accept { user, at } => InviteEvent::Accepted(decided(user, at)?),
        InviteCommand::Decline { user, at } => InviteEvent::Declined(decided(user, at)?),
        InviteCommand::Revoke { at } => {
            pending(at)?;
            InviteEvent::Revoked(end(offer.bound, at))
        }
        InviteCommand::ResealInvitee { .. }
            if offer.invitee_key.is_some() || offer.invitee.open().is_none() =>
        {
            return Ok(vec![]);
        }
        InviteCommand::ResealInvitee { invitee_key, at } => InviteEvent::InviteeResealed {
            account: offer.account,
            user: match invitee_key {
                InviteeKey::User(user) => Some(user),
                InviteeKey::Name { .. } => None,
            },
            at,
            // Only a pending invite needs a claim under its new key.
            pending_until: offer.is_pending(at).then_some(offer.expires_at),
            was_bound: offer.bound.is_some(),
            invitee_key,
            invitee: offer.invitee.clone(),
        },
    }])
}
