//! Pages of the log: how long they are, and that they lack no position.

use super::error::ReadError;
use super::event::FromLog;

/// Maximum number of events that one statement returns.
pub const PAGE: i64 = 1_000;

/// Returns [`ReadError::Gap`] if a position is missing from a page.
pub(super) fn contiguous<E: FromLog>(after: i64, events: &[E]) -> Result<(), ReadError> {
    let mut last = after;
    for event in events {
        if event.position() != last + 1 {
            return Err(ReadError::Gap { after: last, found: event.position() });
        }
        last = event.position();
    }
    Ok(())
}
