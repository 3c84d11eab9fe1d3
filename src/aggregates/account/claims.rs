//! The claim of an account on its name.

use uuid::Uuid;

use super::events::AccountEvent;
use super::values::AccountName;
use crate::aggregates::{ClaimChanges, ClaimHasher};
use crate::event_log::claim::{Claim, ClaimChange, ClaimKey};

/// The claim on an account name; names that differ only in ASCII case share it.
#[must_use]
pub fn account_name_claim(name: &AccountName, hasher: &dyn ClaimHasher) -> ClaimKey {
    hasher.claim("account_name", name.fold().as_bytes())
}

impl ClaimChanges for AccountEvent {
    fn claims(&self, stream: Uuid, hasher: &dyn ClaimHasher) -> Vec<ClaimChange> {
        let holder = stream.to_string();
        let take = |name: &AccountName| {
            ClaimChange::Take(Claim::until_released(account_name_claim(name, hasher), holder.clone()))
        };
        // No tombstone: no invite waits for an account name.
        let release = |name: &AccountName| ClaimChange::Release {
            key: account_name_claim(name, hasher),
            holder: holder.clone(),
        };
        match self {
            AccountEvent::Opened { name, .. } => name.open().map(take).into_iter().collect(),
            AccountEvent::Renamed { name, former_name, .. } => {
                former_name.open().map(release).into_iter().chain(name.open().map(take)).collect()
            }
            AccountEvent::Closed { name, .. } => name.open().map(release).into_iter().collect(),
            _ => Vec::new(),
        }
    }
}
