//! Events as people and programs read them: stored bytes as JSON, sealed fields open where there is a key, secrets never.

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

/// Sealed fields that nobody needs to read: what is kept of secrets, and what signs.
const SECRETS: &[&str] = &["digest", "hash", "former_hash", "signing_seed"];

/// What stands for a secret.
const HIDDEN: &str = "(hidden)";

/// An event as it is shown.
#[derive(Clone, Debug, Serialize)]
pub struct EventRecord {
    /// The place in the log.
    pub position: i64,
    /// The event's identity.
    pub event_id: EventId,
    /// The kind of aggregate.
    pub stream_type: String,
    /// The aggregate.
    pub stream_id: String,
    /// The place in the aggregate's stream.
    pub version: i64,
    /// What happened, for example `account.opened`.
    pub event_type: String,
    /// The version of the event's shape.
    pub event_version: String,
    /// The tenant that it concerns.
    pub account_id: Option<Uuid>,
    /// When it was stored.
    pub recorded_at: Timestamp,
    /// What happened, in clear.
    pub payload: Value,
    /// Who did it, on whose behalf, in reaction to what.
    pub metadata: Value,
    /// What is sealed in it: open, or `null` where the key is gone; secrets as `(hidden)`.
    pub sealed: Map<String, Value>,
    /// Why this release cannot read it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unreadable: Option<String>,
}

impl Tenure {
    /// Events as they are shown to whoever may see them.
    ///
    /// # Errors
    /// The keys cannot be read.
    pub async fn describe(&self, events: &[RecordedEvent]) -> Result<Vec<EventRecord>, CodecError> {
        let decoded = self.codec().decode_each(events, self.log().primary()).await?;
        events.iter().zip(decoded).map(|(event, decoded)| record(event, decoded)).collect()
    }
}

fn record(event: &RecordedEvent, decoded: Result<AnyEvent, CodecError>) -> Result<EventRecord, CodecError> {
    let mut sealed = Map::new();
    let mut unreadable = None;
    if let Some(block) = &event.sealed {
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

    let owner = event.subject(Uuid::nil());
    event.visit_sealed(owner, &mut Collector(fields))
}
