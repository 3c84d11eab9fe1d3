//! The claim of a source on its handle, unique within the account. Pipe names need no claim: the stream of their source
//! decides on them.

use uuid::Uuid;

use super::events::SourceEvent;
use super::values::Handle;
use crate::aggregates::{ClaimChanges, ClaimHasher};
use crate::event_log::claim::{Claim, ClaimChange, ClaimKey};
use crate::ids::AccountId;

/// The claim on a handle within an account.
#[must_use]
pub fn handle_claim(account: AccountId, handle: &Handle, hasher: &dyn ClaimHasher) -> ClaimKey {
    hasher.claim("source_handle", format!("{account}/{}", handle.as_str()).as_bytes())
}

impl ClaimChanges for SourceEvent {
    fn claims(&self, stream: Uuid, hasher: &dyn ClaimHasher) -> Vec<ClaimChange> {
        let holder = stream.to_string();
        match self {
            SourceEvent::Created { account, handle, .. } => {
                vec![ClaimChange::Take(Claim::until_released(handle_claim(*account, handle, hasher), holder))]
            }
            SourceEvent::Deleted { account, handle, .. } => {
                vec![ClaimChange::Release { key: handle_claim(*account, handle, hasher), holder }]
            }
            SourceEvent::PipeCreated { .. }
            | SourceEvent::PipeRetentionChanged { .. }
            | SourceEvent::PipeDeleted { .. } => Vec::new(),
        }
    }
}
