//! The claims of a user: the username and the GitHub ID.

use uuid::Uuid;

use super::events::UserEvent;
use super::values::{GithubId, Username};
use crate::aggregates::{ClaimChanges, ClaimHasher};
use crate::event_log::claim::{Claim, ClaimChange, ClaimKey};
use crate::sealing::Sealed;

/// The claim on a username; names that differ only in ASCII case share it.
#[must_use]
pub fn username_claim(username: &Username, hasher: &dyn ClaimHasher) -> ClaimKey {
    hasher.claim("username", username.fold().as_bytes())
}

/// The claim that leads to the name key of a username that is invited but not registered. The key's ID is its holder.
#[must_use]
pub fn invited_name_claim(username: &Username, hasher: &dyn ClaimHasher) -> ClaimKey {
    hasher.claim("invited_name", username.fold().as_bytes())
}

/// The claim on a GitHub user ID.
#[must_use]
pub fn github_id_claim(id: GithubId, hasher: &dyn ClaimHasher) -> ClaimKey {
    hasher.claim("github_id", id.as_i64().to_string().as_bytes())
}

impl ClaimChanges for UserEvent {
    fn claims(&self, stream: Uuid, hasher: &dyn ClaimHasher) -> Vec<ClaimChange> {
        let holder = stream.to_string();
        // A released name leaves a tombstone: an invite may be waiting for the next user of that name.
        let give_up = |key| ClaimChange::Take(Claim::tombstone(key, holder.clone()));
        // Must not replace a tombstone that the operation has not seen: it first has to look for waiting invites.
        let take = |key| ClaimChange::Take(Claim::until_released(key, holder.clone()).never_taking_over());
        let mut changes = Vec::new();
        match self {
            UserEvent::Registered { username, github_id, .. } => {
                changes.extend(username.open().map(|name| take(username_claim(name, hasher))));
                if let Sealed::Open(Some(id)) = github_id {
                    changes.push(take(github_id_claim(*id, hasher)));
                }
            }
            UserEvent::ProfileRefreshed { username, former_username, .. } => {
                if let Sealed::Open(Some(former)) = former_username {
                    changes.push(give_up(username_claim(former, hasher)));
                }
                if let Sealed::Open(Some(name)) = username {
                    changes.push(take(username_claim(name, hasher)));
                }
            }
            UserEvent::Renamed { username, former_username, .. } => {
                // No tombstone: the former name is invalid, so it can be neither registered nor invited again.
                changes.extend(former_username.open().map(|name| ClaimChange::Release {
                    key: username_claim(name, hasher),
                    holder: holder.clone(),
                }));
                changes.extend(username.open().map(|name| take(username_claim(name, hasher))));
            }
            UserEvent::Forgotten { username, github_id, .. } => {
                if let Some(name) = username.open() {
                    changes.push(give_up(username_claim(name, hasher)));
                }
                if let Sealed::Open(Some(id)) = github_id {
                    // No tombstone: no invite waits for a GitHub ID.
                    let key = github_id_claim(*id, hasher);
                    changes.push(ClaimChange::Release { key, holder: holder.clone() });
                }
            }
            UserEvent::InvitedNameTaken { key, username, .. } => {
                // An invite to this name after the user has given it up must get a new name key.
                changes.extend(username.open().map(|name| ClaimChange::Release {
                    key: invited_name_claim(name, hasher),
                    holder: key.to_string(),
                }));
            }
            UserEvent::OperatorGranted { .. } | UserEvent::OperatorRevoked { .. } => {}
        }
        changes
    }
}
