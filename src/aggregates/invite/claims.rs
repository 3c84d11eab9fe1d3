//! Which names an invite holds: one living offer for each account and person, or name of a person who is not known yet.

use uuid::Uuid;

use super::events::{InviteEnd, InviteEvent};
use crate::aggregates::ClaimHasher;
use crate::aggregates::user::{Username, username_claim};
use crate::event_log::unit::{Claim, ClaimChange, ClaimKey};
use crate::ids::{AccountId, UserId};

/// What the holder of a username's claim begins with while nobody but an invite has asked for the name.
///
/// Such a claim is dead from the start, so that anybody may take the name; but whoever registers it learns from it that
/// an invite waits for them, and an invite to the name of a person who has just registered is refused and decided again.
pub const TOMBSTONE: &str = "invite:";

/// The claim on being invited: by identifier where the person is known, else by name.
#[must_use]
pub fn pending_invite_claim(
    account: AccountId,
    user: Option<UserId>,
    name: &Username,
    hasher: &dyn ClaimHasher,
) -> ClaimKey {
    let mut text = format!("{account}/");
    match user {
        Some(user) => text.push_str(&user.to_string()),
        None => {
            text.push('~');
            text.push_str(&name.fold());
        }
    }
    hasher.claim("pending_invite", text.as_bytes())
}

pub(super) fn of(event: &InviteEvent, stream: Uuid, hasher: &dyn ClaimHasher) -> Vec<ClaimChange> {
    let holder = stream.to_string();
    let tombstone = || format!("{TOMBSTONE}{stream}");
    match event {
        InviteEvent::Created { account, bound, at, expires_at, invitee, .. } => {
            let Some(name) = invitee.open() else { return Vec::new() };
            let key = pending_invite_claim(*account, *bound, name, hasher);
            let mut changes = vec![ClaimChange::Take(Claim::until(key, holder, *expires_at))];
            if bound.is_none() {
                let claim = Claim::until(username_claim(name, hasher), tombstone(), *at);
                changes.push(ClaimChange::Take(claim));
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
                ClaimChange::Release { key: username_claim(name, hasher), holder: tombstone() },
            ]
        }
        InviteEvent::Accepted(end)
        | InviteEvent::Declined(end)
        | InviteEvent::Revoked(end)
        | InviteEvent::InviteeForgotten(end) => ended(end, holder, tombstone(), hasher),
    }
}

fn ended(end: &InviteEnd, holder: String, tombstone: String, hasher: &dyn ClaimHasher) -> Vec<ClaimChange> {
    let Some(name) = end.invitee.open() else { return Vec::new() };
    let user = if end.was_bound { end.user } else { None };
    let key = pending_invite_claim(end.account, user, name, hasher);
    let mut changes = vec![ClaimChange::Release { key, holder }];
    if !end.was_bound {
        changes.push(ClaimChange::Release { key: username_claim(name, hasher), holder: tombstone });
    }
    changes
}
