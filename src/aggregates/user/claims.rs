//! Which names a person holds: the username and the number at GitHub.

use uuid::Uuid;

use super::events::UserEvent;
use super::values::{GithubId, Username};
use crate::aggregates::{ClaimChanges, ClaimHasher};
use crate::event_log::claim::{Claim, ClaimChange, ClaimKey};
use crate::sealing::Sealed;

/// The claim on a username, without case.
#[must_use]
pub fn username_claim(username: &Username, hasher: &dyn ClaimHasher) -> ClaimKey {
    hasher.claim("username", username.fold().as_bytes())
}

/// The claim that finds the key of what is said of a name that nobody has yet.
#[must_use]
pub fn invited_name_claim(username: &Username, hasher: &dyn ClaimHasher) -> ClaimKey {
    hasher.claim("invited_name", username.fold().as_bytes())
}

/// The claim on a number at GitHub.
#[must_use]
pub fn github_id_claim(id: GithubId, hasher: &dyn ClaimHasher) -> ClaimKey {
    hasher.claim("github_id", id.as_i64().to_string().as_bytes())
}

impl ClaimChanges for UserEvent {
    fn claims(&self, stream: Uuid, hasher: &dyn ClaimHasher) -> Vec<ClaimChange> {
        let holder = stream.to_string();
        // A name that is given up leaves a mark: an invite may wait for whoever takes it next.
        let give_up = |key| ClaimChange::Take(Claim::tombstone(key, holder.clone()));
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
                // Nobody can take the former one again, nor be waited for under it.
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
                    let key = github_id_claim(*id, hasher);
                    changes.push(ClaimChange::Release { key, holder: holder.clone() });
                }
            }
            UserEvent::InvitedNameTaken { key, username, .. } => {
                // Whoever invites the name after the person has left it begins another key.
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
