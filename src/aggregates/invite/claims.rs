//! Which names an invite holds: one living offer for each account and person, or name of a person who is not known yet.

use uuid::Uuid;

use super::events::InviteEvent;
use crate::aggregates::ClaimHasher;
use crate::aggregates::user::{Username, username_claim};
use crate::event_log::unit::{Claim, ClaimChange, ClaimKey};
use crate::ids::{AccountId, UserId};

/// The claim on being invited: by identifier where the person is known, else by name.
#[must_use]
pub fn pending_invite_claim(
    account: AccountId,
    user: Option<UserId>,
    name: &Username,
    hasher: &dyn ClaimHasher,
) -> ClaimKey {
    let invited = user.map_or_else(|| format!("~{}", name.fold()), |user| user.to_string());
    let text = format!("{account}/{invited}");
    hasher.claim("pending_invite", text.as_bytes())
}

pub(super) fn of(event: &InviteEvent, stream: Uuid, hasher: &dyn ClaimHasher) -> Vec<ClaimChange> {
    let holder = stream.to_string();
    match event {
        InviteEvent::Created { account, bound, expires_at, invitee, .. } => {
            let Some(name) = invitee.open() else { return Vec::new() };
            let key = pending_invite_claim(*account, *bound, name, hasher);
            let mut changes = vec![ClaimChange::Take(Claim::until(key, holder.clone(), *expires_at))];
            if bound.is_none() {
                // It holds nothing, so that anybody may take the name; but whoever registers it learns from it that
                // an invite waits, and the invite loses against whoever has just registered it.
                changes.push(ClaimChange::Take(Claim::mark(username_claim(name, hasher), holder)));
            }
            changes
        }
        InviteEvent::Bound { account, user, expires_at, invitee, .. } => {
            let Some(name) = invitee.open() else { return Vec::new() };
            let by_name = pending_invite_claim(*account, None, name, hasher);
            let by_id = pending_invite_claim(*account, Some(*user), name, hasher);
            vec![
                ClaimChange::Release { key: by_name, holder: holder.clone() },
                ClaimChange::Take(Claim::until(by_id, holder, *expires_at)),
            ]
        }
        InviteEvent::Accepted(end)
        | InviteEvent::Declined(end)
        | InviteEvent::Revoked(end)
        | InviteEvent::InviteeForgotten(end) => {
            let Some(name) = end.invitee.open() else { return Vec::new() };
            let user = if end.was_bound { end.user } else { None };
            vec![ClaimChange::Release { key: pending_invite_claim(end.account, user, name, hasher), holder }]
        }
    }
}
