//! The claims of an invite: at most one pending invite per account and invitee, and a tombstone on the name of an
//! invitee who is not registered.

use uuid::Uuid;

use super::events::{InviteEvent, InviteeKey};
use crate::aggregates::user::{Username, invited_name_claim, username_claim};
use crate::aggregates::{ClaimChanges, ClaimHasher};
use crate::event_log::claim::{Claim, ClaimChange, ClaimKey};
use crate::ids::{AccountId, UserId};
use crate::sealing::Sealed;

/// The claim on being invited to an account: by user ID if the invitee is registered, else by name key, of which a name
/// has one at a time.
#[must_use]
pub fn pending_invite_claim(account: AccountId, invited: InviteeKey, hasher: &dyn ClaimHasher) -> ClaimKey {
    let invited = match invited {
        InviteeKey::User(user) => user.to_string(),
        InviteeKey::Name { id, .. } => format!("~{id}"),
    };
    hasher.claim("pending_invite", format!("{account}/{invited}").as_bytes())
}

/// The same claim for an invite of version 1, which has no name key: by the name.
#[must_use]
pub fn claim_on_name(account: AccountId, name: &Username, hasher: &dyn ClaimHasher) -> ClaimKey {
    hasher.claim("pending_invite", format!("{account}/~{}", name.fold()).as_bytes())
}

/// The pending-invite claim of an invite: by user if it is bound, else by its key, else (version 1) by name. None if
/// that name is unreadable.
fn claim_of(
    account: AccountId,
    bound: Option<UserId>,
    key: Option<InviteeKey>,
    invitee: &Sealed<Username>,
    hasher: &dyn ClaimHasher,
) -> Option<ClaimKey> {
    match (bound, key) {
        (Some(user), _) => Some(pending_invite_claim(account, InviteeKey::User(user), hasher)),
        (None, Some(key)) => Some(pending_invite_claim(account, key, hasher)),
        (None, None) => invitee.open().map(|name| claim_on_name(account, name, hasher)),
    }
}

impl ClaimChanges for InviteEvent {
    fn claims(&self, stream: Uuid, hasher: &dyn ClaimHasher) -> Vec<ClaimChange> {
        let holder = stream.to_string();
        match self {
            InviteEvent::Created { account, bound, expires_at, invitee_key, invitee, .. } => {
                let Some(key) = claim_of(*account, *bound, *invitee_key, invitee, hasher) else {
                    return Vec::new();
                };
                let mut changes = vec![ClaimChange::Take(Claim::until(key, holder.clone(), *expires_at))];
                let Some(name) = invitee.open() else { return changes };
                if bound.is_none() {
                    // The tombstone reserves nothing, so any user may take the name; but a registration of the name
                    // finds it and looks for invites. If a user registered the name after the decision, the tombstone
                    // loses against that claim, and the invite is decided again.
                    changes.push(ClaimChange::Take(Claim::tombstone(username_claim(name, hasher), holder)));
                }
                if let Some(InviteeKey::Name { id, begins: true }) = invitee_key {
                    changes.push(ClaimChange::Take(Claim::until_released(
                        invited_name_claim(name, hasher),
                        id.to_string(),
                    )));
                }
                changes
            }
            InviteEvent::Bound { account, user, expires_at, invitee_key, invitee, .. } => {
                // The claim moves from the name to the user ID, so that a user has at most one pending invite to an
                // account, whatever their username.
                let by_id = pending_invite_claim(*account, InviteeKey::User(*user), hasher);
                let before = claim_of(*account, None, *invitee_key, invitee, hasher);
                let released = before.map(|key| ClaimChange::Release { key, holder: holder.clone() });
                let taken = ClaimChange::Take(Claim::until(by_id, holder.clone(), *expires_at));
                released.into_iter().chain([taken]).collect()
            }
            InviteEvent::InviteeResealed {
                account,
                user,
                pending_until,
                was_bound,
                invitee_key,
                invitee,
                ..
            } => {
                let Some(name) = invitee.open() else { return Vec::new() };
                let mut changes = Vec::new();
                if let InviteeKey::Name { id, begins: true } = invitee_key {
                    let key = invited_name_claim(name, hasher);
                    changes.push(ClaimChange::Take(Claim::until_released(key, id.to_string())));
                }
                if user.is_none() {
                    // Loses against a registration of the name that this decision has not seen.
                    changes.push(ClaimChange::Take(Claim::tombstone(
                        username_claim(name, hasher),
                        holder.clone(),
                    )));
                }
                // An invite that was bound has held its claim by user ID since then.
                if !was_bound {
                    let key = claim_on_name(*account, name, hasher);
                    changes.push(ClaimChange::Release { key, holder: holder.clone() });
                    let key = claim_of(*account, *user, Some(*invitee_key), invitee, hasher);
                    changes.extend(
                        key.zip(*pending_until)
                            .map(|(key, until)| ClaimChange::Take(Claim::until(key, holder, until))),
                    );
                }
                changes
            }
            InviteEvent::Accepted(end)
            | InviteEvent::Declined(end)
            | InviteEvent::Revoked(end)
            | InviteEvent::InviteeForgotten(end) => {
                // An unbound invite has its claim under the name, even if a user accepted or declined it.
                let bound = if end.was_bound { end.user } else { None };
                let key = claim_of(end.account, bound, end.invitee_key, &end.invitee, hasher);
                key.map(|key| ClaimChange::Release { key, holder }).into_iter().collect()
            }
        }
    }
}
