//! Which names an invite holds: one living offer for each account and person, or name of a person who is not known yet.

use uuid::Uuid;

use super::events::{InviteEvent, InviteeKey};
use crate::aggregates::user::{Username, invited_name_claim, username_claim};
use crate::aggregates::{ClaimChanges, ClaimHasher};
use crate::event_log::claim::{Claim, ClaimChange, ClaimKey};
use crate::ids::{AccountId, UserId};
use crate::sealing::Sealed;

/// The claim on being invited: by identifier where the person is known, else by the key of the name, of which there is one
/// at a time.
#[must_use]
pub fn pending_invite_claim(account: AccountId, invited: InviteeKey, hasher: &dyn ClaimHasher) -> ClaimKey {
    let invited = match invited {
        InviteeKey::User(user) => user.to_string(),
        InviteeKey::Name { id, .. } => format!("~{id}"),
    };
    hasher.claim("pending_invite", format!("{account}/{invited}").as_bytes())
}

/// The same for an invite of before, which has no key of its name.
#[must_use]
pub fn claim_on_name(account: AccountId, name: &Username, hasher: &dyn ClaimHasher) -> ClaimKey {
    hasher.claim("pending_invite", format!("{account}/~{}", name.fold()).as_bytes())
}

/// The claim of an invite that is whose.
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
                    // It holds nothing, so that anybody may take the name; but whoever registers it learns from it that
                    // an invite waits, and the invite loses against whoever has just registered it.
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
                    // Loses against a registration of the name that the decision has not seen.
                    changes.push(ClaimChange::Take(Claim::tombstone(
                        username_claim(name, hasher),
                        holder.clone(),
                    )));
                }
                // A bound one has had its claim by identifier since it was bound.
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
                let bound = if end.was_bound { end.user } else { None };
                let key = claim_of(end.account, bound, end.invitee_key, &end.invitee, hasher);
                key.map(|key| ClaimChange::Release { key, holder }).into_iter().collect()
            }
        }
    }
}
