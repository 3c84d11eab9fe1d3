//! Which names are free again once what held them has been cleared away: the handles of an account's sources. Invites give
//! up theirs by the clock.

use super::events::EndingEvent;
use crate::aggregates::ClaimHasher;
use crate::aggregates::source::handle_claim;
use crate::event_log::unit::ClaimChange;

pub(super) fn of(event: &EndingEvent, hasher: &dyn ClaimHasher) -> Vec<ClaimChange> {
    let EndingEvent::AccountRowsRemoved(rows) = event else { return Vec::new() };
    rows.sources
        .iter()
        .map(|source| ClaimChange::Release {
            key: handle_claim(rows.account, &source.handle, hasher),
            holder: source.id.to_string(),
        })
        .collect()
}
