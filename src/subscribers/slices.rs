//! Slices: the parts of a subscription that are handled independently of each other, by the stream of an event.

use sha2::{Digest as _, Sha256};

use crate::event_log::StreamId;

/// The most slices that a subscription can have.
pub const MAX_SLICES: u32 = 256;

/// The slice of a stream, out of `slices`: [`hash_of`] the stream modulo `slices`.
#[must_use]
pub fn slice_of(stream: &StreamId, slices: u32) -> u32 {
    if slices <= 1 {
        return 0;
    }
    u32::try_from(hash_of(stream) % i64::from(slices)).unwrap_or(0)
}

/// The hash of a stream: the first 8 bytes of SHA-256 of `<type>/<id>`, big-endian, without the sign bit.
#[must_use]
pub fn hash_of(stream: &StreamId) -> i64 {
    let mut digest = Sha256::new();
    for part in [&*stream.stream_type, "/", &*stream.id] {
        digest.update(part);
    }
    let digest = digest.finalize();
    digest.iter().take(8).fold(0, |number: i64, byte| number << 8 | i64::from(*byte)) & i64::MAX
}

/// What the earlier versions of a subscription have handled: for each version, the checkpoints of its slices.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Handled(Vec<Vec<i64>>);

impl Handled {
    /// Reads the JSON that is stored: an array of arrays of positions. None if it is something else.
    pub(super) fn parse(json: &str) -> Option<Self> {
        serde_json::from_str(json).ok().map(Self)
    }

    /// Forgets the versions of which nothing is beyond a position.
    pub(super) fn after(&self, position: i64) -> Self {
        Self(self.0.iter().filter(|version| version.iter().any(|place| *place > position)).cloned().collect())
    }

    /// Whether an earlier version has handled the event of a stream at a position.
    pub(super) fn contains(&self, stream: &StreamId, position: i64) -> bool {
        self.0.iter().any(|version| {
            let slices = u32::try_from(version.len()).unwrap_or(u32::MAX);
            usize::try_from(slice_of(stream, slices))
                .ok()
                .and_then(|slice| version.get(slice))
                .is_some_and(|place| position <= *place)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn stream(id: &str) -> StreamId {
        StreamId { stream_type: "account".into(), id: Arc::from(id) }
    }

    #[test]
    fn a_stream_stays_in_its_slice() {
        // Stored checkpoints depend on this: these values never change.
        assert_eq!(slice_of(&stream("a"), 8), 4);
        assert_eq!(slice_of(&stream("b"), 8), 4);
        assert_eq!(slice_of(&stream("b"), 1), 0);
        let streams: Vec<_> = (0..1_000).map(|number| stream(&number.to_string())).collect();
        for slice in 0..8 {
            let count = streams.iter().filter(|stream| slice_of(stream, 8) == slice).count();
            assert!((80..180).contains(&count), "slice {slice} has {count} of 1,000 streams");
        }
    }

    #[test]
    fn what_a_version_with_other_slices_has_handled_is_known_exactly() {
        let handled = Handled::parse("[[10, 20], [5]]").unwrap();
        for id in ["a", "b", "c", "d"] {
            let end = if slice_of(&stream(id), 2) == 0 { 10 } else { 20 };
            assert!(handled.contains(&stream(id), 5) && handled.contains(&stream(id), end));
            assert!(!handled.contains(&stream(id), end + 1));
        }
        assert_eq!(handled.after(19), Handled::parse("[[10, 20]]").unwrap());
        assert_eq!(handled.after(20), Handled::default());
        assert_eq!(Handled::parse("{}"), None);
    }
}
