//! Upcasting: converts old events to the present shape when they are read; stored events never change.

use cqrs_es::persist::{EventUpcaster, SerializedEvent};

use super::event::RecordedEvent;

/// The upcasters of a set of events, applied in order.
#[derive(Default)]
pub struct Upcasters(Vec<Box<dyn EventUpcaster>>);

/// The payload or the metadata of an event is not JSON.
#[derive(Debug, thiserror::Error)]
#[error("event {position} ({event_type}, version {event_version}) is not JSON")]
pub struct NotJson {
    position: i64,
    event_type: String,
    event_version: String,
    #[source]
    source: serde_json::Error,
}

impl Upcasters {
    /// These upcasters, in the order in which they are applied.
    #[must_use]
    pub fn new(upcasters: Vec<Box<dyn EventUpcaster>>) -> Self {
        Self(upcasters)
    }

    /// Whether an upcaster would change an event of this name and version.
    #[must_use]
    pub fn touches(&self, event_type: &str, event_version: &str) -> bool {
        self.0.iter().any(|upcaster| upcaster.can_upcast(event_type, event_version))
    }

    /// The event as a cqrs-es event, converted to the present shape.
    ///
    /// # Errors
    /// [`NotJson`] if the payload or the metadata is not JSON.
    pub fn apply(&self, event: &RecordedEvent) -> Result<SerializedEvent, NotJson> {
        let json = |bytes: &[u8]| {
            serde_json::from_slice(bytes).map_err(|source| NotJson {
                position: event.position,
                event_type: event.event_type.clone(),
                event_version: event.event_version.clone(),
                source,
            })
        };
        let serialized = SerializedEvent::new(
            event.stream.id.to_string(),
            usize::try_from(event.version).unwrap_or(usize::MAX),
            event.stream.stream_type.to_string(),
            event.event_type.clone(),
            event.event_version.clone(),
            json(&event.payload)?,
            json(&event.metadata)?,
        );
        // Each upcaster may raise the version that the next one tests, so an event may pass through several.
        Ok(self.0.iter().fold(serialized, |event, upcaster| {
            if upcaster.can_upcast(&event.event_type, &event.event_version) {
                upcaster.upcast(event)
            } else {
                event
            }
        }))
    }
}

impl std::fmt::Debug for Upcasters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Upcasters({})", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use cqrs_es::persist::SemanticVersionEventUpcaster;
    use serde_json::json;

    use super::*;
    use crate::event_log::event::StreamId;
    use crate::ids::EventId;

    fn renamed_field(from: &'static str, to: &'static str) -> Box<dyn EventUpcaster> {
        let version = if from == "owner_id" { "2" } else { "3" };
        let change = move |mut payload: serde_json::Value| {
            if let Some(object) = payload.as_object_mut()
                && let Some(value) = object.remove(from)
            {
                object.insert(to.to_owned(), value);
            }
            payload
        };
        Box::new(SemanticVersionEventUpcaster::new("thing.made", version, Box::new(change)))
    }

    #[test]
    fn an_old_event_passes_every_upcaster_in_order() {
        let upcasters =
            Upcasters::new(vec![renamed_field("owner_id", "owner"), renamed_field("owner", "holder")]);
        let event = RecordedEvent {
            position: 1,
            id: EventId::NIL,
            stream: StreamId { stream_type: "thing".into(), id: "1".into() },
            version: 1,
            event_type: "thing.made".to_owned(),
            event_version: "1".to_owned(),
            account_id: None,
            recorded_at: crate::clock::Timestamp::default(),
            payload: Bytes::from_static(br#"{"owner_id":7}"#),
            metadata: Bytes::from_static(b"{}"),
            sealed: None,
        };
        assert!(upcasters.touches("thing.made", "1"));
        let read = upcasters.apply(&event).unwrap();
        assert_eq!(read.payload, json!({"holder": 7}));
        assert!(!upcasters.touches("thing.made", "3"));

        let broken = RecordedEvent { payload: Bytes::from_static(b"{"), ..event };
        assert!(
            upcasters.apply(&broken).unwrap_err().to_string().contains("event 1 (thing.made, version 1)")
        );
    }
}
