//! Which names are free again once what held them has been cleared away: the handles of an account's sources. Invites give
//! up theirs by the clock.

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
