//! The fixed encoding of an event as a leaf of the log's Merkle tree (RFC 6962).
//!
//! A leaf is `00 ‖ fields`, each field a length (u32, big-endian) and its octets, in this order: position (i64,
//! big-endian), event id (16 octets), stream type, stream id, version (i64), event type, event version, account id
//! (16 octets, or none), recorded at (microseconds since the Unix epoch, i64), metadata, payload, sealed. Absent
//! values have the length `ffffffff` and no octets, so that they differ from empty ones. The leaf's index in
//! the tree is its position − 1. The encoding covers ciphertext, so the tree survives the destruction of keys.

use sha2::{Digest, Sha256};

use super::event::RecordedEvent;

/// The leaf of an event: the octets that are hashed.
#[must_use]
pub fn leaf(event: &RecordedEvent) -> Vec<u8> {
    let sealed = event.sealed.as_deref();
    let mut out =
        Vec::with_capacity(192 + event.payload.len() + event.metadata.len() + sealed.map_or(0, <[u8]>::len));
    out.push(0);
    let mut field = |value: Option<&[u8]>| {
        // No field can reach 4 GiB: PostgreSQL's limit is 1 GiB. The fallback must not equal the length of an absent
        // one.
        let length = value.map_or(u32::MAX, |value| u32::try_from(value.len()).unwrap_or(u32::MAX - 1));
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(value.unwrap_or_default());
    };
    field(Some(&event.position.to_be_bytes()));
    field(Some(event.id.as_uuid().as_bytes()));
    field(Some(event.stream.stream_type.as_bytes()));
    field(Some(event.stream.id.as_bytes()));
    field(Some(&event.version.to_be_bytes()));
    field(Some(event.event_type.as_bytes()));
    field(Some(event.event_version.as_bytes()));
    field(event.account_id.as_ref().map(|id| id.as_bytes().as_slice()));
    field(Some(&event.recorded_at.as_micros().to_be_bytes()));
    field(Some(&event.metadata));
    field(Some(&event.payload));
    field(sealed);
    out
}

/// The SHA-256 of the leaf: the hash of the event in the tree.
#[must_use]
pub fn leaf_hash(event: &RecordedEvent) -> [u8; 32] {
    Sha256::digest(leaf(event)).into()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use uuid::Uuid;

    use super::*;
    use crate::clock::Timestamp;
    use crate::event_log::event::StreamId;
    use crate::ids::EventId;

    fn hex(bytes: &[u8]) -> String {
        use std::fmt::Write as _;
        bytes.iter().fold(String::new(), |mut out, byte| {
            let _ = write!(out, "{byte:02x}");
            out
        })
    }

    fn full() -> RecordedEvent {
        RecordedEvent {
            position: 42,
            id: EventId::from_uuid(Uuid::from_u128(0x0192_0000_0000_7000_8000_0000_0000_0001)),
            stream: StreamId { stream_type: "account".into(), id: "a1".into() },
            version: 3,
            event_type: "account.opened".to_owned(),
            event_version: "1".to_owned(),
            account_id: Some(Uuid::from_u128(0xa1)),
            recorded_at: Timestamp::from_micros(1_700_000_000_000_001),
            payload: Bytes::from_static(b"{\"opened\":{}}"),
            metadata: Bytes::from_static(b"{\"actor\":\"system\"}"),
            sealed: Some(Bytes::from_static(&[1, 0])),
        }
    }

    /// The vectors of `docs/leaf-encoding.md`, which were computed by another program.
    #[test]
    fn leaves_match_the_published_vectors() {
        let vectors = include_str!("../../docs/leaf-vectors.txt");
        let bare = RecordedEvent { account_id: None, sealed: None, ..full() };
        let empty = RecordedEvent { sealed: Some(Bytes::new()), ..full() };
        let computed: Vec<String> = [full(), bare, empty]
            .iter()
            .map(|event| format!("{} {}", hex(&leaf(event)), hex(&leaf_hash(event))))
            .collect();
        assert_eq!(vectors.lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>(), computed);
    }

    #[test]
    fn nothing_that_differs_has_the_same_leaf() {
        let mut shifted = full();
        shifted.stream.stream_type = "accounta".into();
        shifted.stream.id = "1".into();
        assert_ne!(leaf(&full()), leaf(&shifted));
        let absent = RecordedEvent { sealed: None, ..full() };
        let empty = RecordedEvent { sealed: Some(Bytes::new()), ..full() };
        assert_ne!(leaf(&absent), leaf(&empty));
    }
}
