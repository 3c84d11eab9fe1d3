//! Events as JSON for readers: sealed fields are opened where the key exists, and secrets are never shown.

use serde::Serialize;
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::Tenure;
use crate::aggregates::AnyEvent;
use crate::clock::Timestamp;
use crate::codec::CodecError;
use crate::event_log::RecordedEvent;
use crate::ids::EventId;
use crate::sealing::{self, FieldVisitor, SealError, SealedField, SealedFields as _, Subject};

/// Sealed fields that are never shown: digests and hashes of secrets, and the signing seed.
const SECRETS: &[&str] = &["digest", "hash", "former_hash", "signing_seed"];

/// Shown in place of a secret.
const HIDDEN: &str = "(hidden)";

/// An event in the form in which it is shown.
#[derive(Clone, Debug, Serialize)]
pub struct EventRecord {
    /// The position in the log, from 1.
    pub position: i64,
    /// The unique identifier of the event.
    pub event_id: EventId,
    /// The type of the aggregate, for example `account`.
    pub stream_type: String,
    /// The identifier of the aggregate.
    pub stream_id: String,
    /// The event's number in the aggregate's stream, from 1.
    pub version: i64,
    /// What happened, for example `account.opened`.
    pub event_type: String,
    /// The version of the payload's shape.
    pub event_version: String,
    /// The account that the event concerns; `None` if it concerns none.
    pub account_id: Option<Uuid>,
    /// When the event was recorded in the log.
    pub recorded_at: Timestamp,
    /// The payload as stored, without sealed fields.
    pub payload: Value,
    /// Who sent the command, on whose behalf and in reaction to what.
    pub metadata: Value,
    /// The sealed fields: opened, `null` where the key has been destroyed, or `(hidden)` for secrets.
    pub sealed: Map<String, Value>,
    /// Why this release cannot open the sealed fields; `None` if it can, or if the event has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unreadable: Option<String>,
}

impl Tenure {
    /// Converts events to the form in which they are shown. Does not check who may see them.
    ///
    /// # Errors
    /// [`CodecError`] if the data keys cannot be loaded.
    pub async fn describe(&self, events: &[RecordedEvent]) -> Result<Vec<EventRecord>, CodecError> {
        let decoded = self.codec().decode_each(events, self.log().primary()).await?;
        events.iter().zip(decoded).map(|(event, decoded)| record(event, decoded)).collect()
    }
}

fn record(event: &RecordedEvent, decoded: Result<AnyEvent, CodecError>) -> Result<EventRecord, CodecError> {
    let mut sealed = Map::new();
    let mut unreadable = None;
    if let Some(block) = &event.sealed {
        // `null` first: fields that do not open below keep it, so a reader sees that they exist.
        for name in sealing::field_names(block).unwrap_or_default() {
            sealed.insert(name.to_owned(), Value::Null);
        }
        match decoded {
            Ok(mut decoded) => collect(&mut decoded, &mut sealed)?,
            Err(error) => unreadable = Some(error.to_string()),
        }
    }
    Ok(EventRecord {
        position: event.position,
        event_id: event.id,
        stream_type: event.stream.stream_type.to_string(),
        stream_id: event.stream.id.to_string(),
        version: event.version,
        event_type: event.event_type.clone(),
        event_version: event.event_version.clone(),
        account_id: event.account_id,
        recorded_at: event.recorded_at,
        payload: stored(&event.payload),
        metadata: stored(&event.metadata),
        sealed,
        unreadable,
    })
}

fn stored(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes)
        .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(bytes).into_owned()))
}

fn collect(event: &mut AnyEvent, fields: &mut Map<String, Value>) -> Result<(), SealError> {
    struct Collector<'a>(&'a mut Map<String, Value>);

    impl FieldVisitor for Collector<'_> {
        fn field(
            &mut self,
            name: &'static str,
            _: Subject,
            field: &mut dyn SealedField,
        ) -> Result<(), SealError> {
            if let (Some(slot), Some(json)) = (self.0.get_mut(name), field.to_json()) {
                *slot = if SECRETS.contains(&name) {
                    HIDDEN.into()
                } else {
                    serde_json::from_slice(&json).unwrap_or(Value::Null)
                };
            }
            Ok(())
        }
    }

    // The collector ignores the subject, so any identifier will do.
    let owner = event.subject(Uuid::nil());
    event.visit_sealed(owner, &mut Collector(fields))
}
