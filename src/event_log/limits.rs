//! Size limits of events and units.

/// Maximum number of events in one unit.
pub const MAX_UNIT_EVENTS: usize = 10_000;

/// Maximum size of an event's payload, metadata and sealed fields together, in bytes.
pub const MAX_EVENT_BYTES: usize = 256 * 1024;

/// Maximum size of one unit on the wire, in bytes.
pub const MAX_UNIT_BYTES: usize = 16 * 1024 * 1024;
