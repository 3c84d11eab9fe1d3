//! Releases the handles of a closed account's sources when their rows are removed. Claims of invites are not released
//! here; they expire.

use uuid::Uuid;

use super::events::EndingEvent;
use crate::aggregates::source::handle_claim;
use crate::aggregates::{ClaimChanges, ClaimHasher};
use crate::event_log::claim::ClaimChange;

impl ClaimChanges for EndingEvent {
    fn claims(&self, _stream: Uuid, hasher: &dyn ClaimHasher) -> Vec<ClaimChange> {
        let EndingEvent::AccountRowsRemoved(rows) = self else { return Vec::new() };
        rows.sources
            .iter()
            .map(|source| ClaimChange::Release {
                key: handle_claim(rows.account, &source.handle, hasher),
                holder: source.id.to_string(),
            })
            .collect()
    }
}
