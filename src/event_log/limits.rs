//! The largest events and units that the log stores.

/// The most events that one unit may hold.
pub const MAX_UNIT_EVENTS: usize = 10_000;

/// The most bytes that the payload, the metadata and the sealed fields of one event may take together.
pub const MAX_EVENT_BYTES: usize = 256 * 1024;

/// The most bytes that one unit may take on the wire.
pub const MAX_UNIT_BYTES: usize = 16 * 1024 * 1024;
