//! Converts typed events to stored ones (encode, seal) and back (upcast, decode, open).

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use uuid::Uuid;

use crate::aggregates::{AnyEvent, DecodeError, EventSourced};
use crate::credentials::key_ring::{KeyLoadError, KeyRing};
use crate::entropy::Entropy;
use crate::event_log::snapshot::Snapshot;
use crate::event_log::unit::Unit;
use crate::event_log::upcast::{NotJson, Upcasters};
use crate::event_log::{NewEvent, Primary, RecordedEvent, StreamId};
use crate::ids::EventId;
use crate::projections;
use crate::sealing::{self, DataKey, FieldVisitor, SealError, SealedField, SealedFields, Subject};

/// Why a stored event cannot be read, or a new one cannot be encoded.
#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    /// This release cannot decode a stored event.
    #[error(
        "event {position} ({stream_type}, {event_type}, version {event_version}) cannot be read: {reason}"
    )]
    Unreadable {
        /// The position of the event.
        position: i64,
        /// The type of its stream, for example `account`.
        stream_type: String,
        /// The stored name of the event, for example `account.opened`.
        event_type: String,
        /// The version of the payload's shape.
        event_version: String,
        /// What is wrong with the event.
        reason: String,
    },
    /// A new event or a snapshot cannot be serialised to JSON.
    #[error("an event cannot be serialised")]
    Unwritable(#[from] serde_json::Error),
    /// A field cannot be sealed; see [`SealError`].
    #[error(transparent)]
    Seal(#[from] SealError),
    /// The data keys cannot be loaded.
    #[error(transparent)]
    Keys(#[from] KeyLoadError),
}

/// An event that has been decided but not yet stored.
pub struct Decided {
    /// The unique identifier of the event.
    pub id: EventId,
    /// The identifier of the aggregate.
    pub stream_id: Uuid,
    /// The stream of the aggregate.
    pub stream: StreamId,
    /// The event's number in the stream, from 1.
    pub version: i64,
    /// The typed event, with its sealed fields open.
    pub event: AnyEvent,
}

/// Converts the events and snapshots of one log. Clones share keys and upcasters.
#[derive(Clone)]
pub struct Codec {
    keys: Arc<KeyRing>,
    upcasters: Arc<Upcasters>,
    entropy: Arc<dyn Entropy>,
}

impl Codec {
    /// A codec with the key ring of the log and the upcasters of this release.
    #[must_use]
    pub fn new(keys: Arc<KeyRing>, upcasters: Upcasters, entropy: Arc<dyn Entropy>) -> Self {
        Self { keys, upcasters: Arc::new(upcasters), entropy }
    }

    /// The key ring of the log.
    #[must_use]
    pub const fn keys(&self) -> &Arc<KeyRing> {
        &self.keys
    }

    /// Adds events to a unit: sealed, with their claims, row changes, and data keys for new subjects.
    ///
    /// Returns the new keys. Cache them only once the unit is stored.
    ///
    /// # Errors
    /// [`CodecError::Seal`] if a field cannot be sealed, for example because its subject's key has been destroyed;
    /// [`CodecError::Keys`] if keys cannot be loaded; [`CodecError::Unwritable`].
    pub async fn encode(
        &self,
        unit: &mut Unit,
        decided: &mut [Decided],
        metadata: &Bytes,
        primary: &Primary,
    ) -> Result<Vec<(String, DataKey)>, CodecError> {
        let mut fresh: HashMap<Subject, DataKey> = HashMap::new();
        let mut needed = Vec::new();
        // A first pass finds all keys that are needed, so that one query loads them.
        for event in decided.iter_mut() {
            let owner = event.event.subject(event.stream_id);
            if let Some(subject) = event.event.begins_subject(event.stream_id) {
                let (key, stored) = self.keys.new_data_key(subject, &*self.entropy)?;
                unit.new_keys.push(stored);
                fresh.insert(subject, key);
            }
            let mut subjects = Subjects(Vec::new());
            event.event.visit_sealed(owner, &mut subjects)?;
            // New subjects have no key in the log yet.
            needed.extend(subjects.0.into_iter().filter(|subject| !fresh.contains_key(subject)));
        }
        needed.sort_unstable();
        needed.dedup();
        let loaded = self.keys.load(needed.iter().map(ToString::to_string).collect(), primary).await?;
        for event in decided {
            self.encode_one(unit, event, metadata, &fresh, &loaded)?;
        }
        Ok(fresh.into_iter().map(|(subject, key)| (subject.to_string(), key)).collect())
    }

    fn encode_one(
        &self,
        unit: &mut Unit,
        decided: &mut Decided,
        metadata: &Bytes,
        fresh: &HashMap<Subject, DataKey>,
        loaded: &HashMap<String, DataKey>,
    ) -> Result<(), CodecError> {
        let index = unit.events.len();
        let stream_id = decided.stream_id;
        let owner = decided.event.subject(stream_id);
        let mut key = |subject: Subject| fresh.get(&subject).or_else(|| loaded.get(&subject.to_string()));
        // The event's own id is bound in, so that a ciphertext cannot be moved to another event.
        let sealed =
            sealing::seal(&mut decided.event, owner, decided.id.as_uuid(), &mut key, &*self.entropy)?;
        let event = &decided.event;
        let (event_type, event_version) = event.kind();
        unit.destroyed_keys.extend(event.ends_subjects(stream_id).iter().map(ToString::to_string));
        unit.claims.extend(event.claims(stream_id, &*self.keys).into_iter().map(|change| (index, change)));
        unit.rows.extend(projections::changes(stream_id, event).into_iter().map(|change| (index, change)));
        unit.events.push(NewEvent {
            id: decided.id,
            stream: decided.stream.clone(),
            version: decided.version,
            event_type: event_type.into(),
            event_version: event_version.into(),
            account_id: event.account(stream_id).map(crate::ids::AccountId::as_uuid),
            payload: event.payload()?.into(),
            metadata: metadata.clone(),
            sealed,
        });
        Ok(())
    }

    /// Decodes stored events of Tenure's own aggregates and opens the fields whose keys exist. One query loads all
    /// keys.
    ///
    /// # Errors
    /// [`CodecError::Unreadable`] for an event of an unknown type, version or shape; [`CodecError::Keys`] if keys
    /// cannot be loaded.
    pub async fn decode(
        &self,
        events: &[RecordedEvent],
        primary: &Primary,
    ) -> Result<Vec<AnyEvent>, CodecError> {
        let mut subjects = Vec::new();
        for event in events {
            subjects.extend(subjects_of(event)?);
        }
        subjects.sort_unstable();
        subjects.dedup();
        let keys = self.keys.load(subjects, primary).await?;
        events.iter().map(|event| self.decode_one(event, &keys)).collect()
    }

    /// The subjects whose data keys this event destroys. Needs no key.
    ///
    /// # Errors
    /// [`CodecError::Unreadable`] for an event of an unknown type, version or shape.
    pub fn ended_subjects(&self, event: &RecordedEvent) -> Result<Vec<Subject>, CodecError> {
        let (stream, event) = self.public_part(event)?;
        Ok(event.ends_subjects(stream))
    }

    /// As [`Codec::decode`], for replays: each event comes with the subjects whose keys are missing, as `kind:id`. Keys are
    /// read past the cache, which a replay of a large log would fill with keys that are needed once.
    ///
    /// # Errors
    /// See [`Codec::decode`].
    pub async fn decode_noting_missing_keys(
        &self,
        events: &[&RecordedEvent],
        primary: &Primary,
    ) -> Result<Vec<(AnyEvent, Vec<String>)>, CodecError> {
        let of_each: Vec<Vec<String>> =
            events.iter().map(|event| subjects_of(event)).collect::<Result<_, _>>()?;
        let mut subjects: Vec<String> = of_each.concat();
        subjects.sort_unstable();
        subjects.dedup();
        let keys = self.keys.load_afresh(&subjects, primary).await?;
        let decoded = events.iter().zip(of_each).map(|(event, mut subjects)| {
            subjects.retain(|subject| !keys.contains_key(subject));
            Ok((self.decode_one(event, &keys)?, subjects))
        });
        decoded.collect()
    }

    /// As [`Codec::decode`], for showing events: one unreadable event does not fail the others. Keys are read from the
    /// log and not from the cache, which may still hold keys that another node has destroyed.
    ///
    /// # Errors
    /// [`KeyLoadError`] if the keys cannot be loaded.
    pub async fn decode_each(
        &self,
        events: &[RecordedEvent],
        primary: &Primary,
    ) -> Result<Vec<Result<AnyEvent, CodecError>>, KeyLoadError> {
        let mut subjects: Vec<String> =
            // A damaged block has no subjects here; decoding it below reports the error.
            events.iter().flat_map(|event| subjects_of(event).unwrap_or_default()).collect();
        subjects.sort_unstable();
        subjects.dedup();
        let keys = self.keys.load_afresh(&subjects, primary).await?;
        Ok(events.iter().map(|event| self.decode_one(event, &keys)).collect())
    }

    /// Upcasts and decodes the public payload of an event; its sealed fields stay unreadable.
    fn public_part(&self, event: &RecordedEvent) -> Result<(Uuid, AnyEvent), CodecError> {
        let failed = |error: DecodeError| match error {
            DecodeError::Payload(source) => unreadable(event, &source),
            other => unreadable(event, &other),
        };
        let stream_type = &*event.stream.stream_type;
        // Only events that an upcaster changes are parsed and serialised again; the others are decoded as stored.
        let decoded = if self.upcasters.touches(&event.event_type, &event.event_version) {
            let upcast = self.upcasters.apply(event).map_err(|error: NotJson| unreadable(event, &error))?;
            let payload = serde_json::to_vec(&upcast.payload)?;
            AnyEvent::from_payload(stream_type, &upcast.event_type, &upcast.event_version, &payload)
        } else {
            AnyEvent::from_payload(stream_type, &event.event_type, &event.event_version, &event.payload)
        };
        let stream_id = Uuid::parse_str(&event.stream.id).map_err(|error| unreadable(event, &error))?;
        Ok((stream_id, decoded.map_err(failed)?))
    }

    fn decode_one(
        &self,
        event: &RecordedEvent,
        keys: &HashMap<String, DataKey>,
    ) -> Result<AnyEvent, CodecError> {
        let (stream_id, mut decoded) = self.public_part(event)?;
        let owner = decoded.subject(stream_id);
        let mut key = |kind: &str, id: Uuid| keys.get(&format!("{kind}:{id}"));
        sealing::open(&mut decoded, owner, event.id.as_uuid(), event.sealed.as_deref(), &mut key)
            .map_err(|error| unreadable(event, &error))?;
        Ok(decoded)
    }

    /// Encodes an aggregate's state as a snapshot, bound to the aggregate and version.
    ///
    /// # Errors
    /// [`CodecError::Seal`] if a field is unreadable here: a snapshot would lose it. [`CodecError::Keys`] if the key
    /// cannot be loaded.
    pub async fn encode_snapshot<A: EventSourced>(
        &self,
        id: Uuid,
        version: i64,
        state: &A,
        primary: &Primary,
    ) -> Result<Snapshot, CodecError> {
        let owner = A::subject(id);
        let mut state = state.clone();
        let payload = serde_json::to_vec(&state)?.into();
        let keys = self.keys.load(vec![owner.to_string()], primary).await?;
        let mut key = |_: Subject| keys.get(&owner.to_string());
        let sealed = sealing::seal(&mut state, owner, snapshot_id(id, version), &mut key, &*self.entropy)?;
        Ok(Snapshot { version, state_version: A::STATE_VERSION, payload, sealed })
    }

    /// Decodes the state in a snapshot. `None` if this release cannot decode it; the caller then folds all events.
    ///
    /// # Errors
    /// [`CodecError::Keys`] if the key cannot be loaded.
    pub async fn decode_snapshot<A: EventSourced>(
        &self,
        id: Uuid,
        snapshot: &Snapshot,
        primary: &Primary,
    ) -> Result<Option<A>, CodecError> {
        let owner = A::subject(id);
        let keys = self.keys.load(vec![owner.to_string()], primary).await?;
        let Ok(mut state) = serde_json::from_slice::<A>(&snapshot.payload) else {
            return Ok(None);
        };
        let mut key = |_: &str, _: Uuid| keys.get(&owner.to_string());
        let identity = snapshot_id(id, snapshot.version);
        let opened = sealing::open(&mut state, owner, identity, snapshot.sealed.as_deref(), &mut key);
        Ok(opened.is_ok().then_some(state))
    }
}

/// The subjects whose keys open an event's sealed fields, as `kind:id`.
fn subjects_of(event: &RecordedEvent) -> Result<Vec<String>, CodecError> {
    let Some(block) = &event.sealed else { return Ok(Vec::new()) };
    let found = sealing::subjects(block).map_err(|error| unreadable(event, &error))?;
    Ok(found.into_iter().map(|(kind, id)| format!("{kind}:{id}")).collect())
}

/// The identifier that a snapshot's ciphertexts are bound to, derived from the aggregate and the version.
fn snapshot_id(id: Uuid, version: i64) -> Uuid {
    use sha2::{Digest as _, Sha256};
    let digest = Sha256::new()
        .chain_update(b"tenure snapshot\0")
        .chain_update(id.as_bytes())
        .chain_update(version.to_be_bytes())
        .finalize();
    uuid::Builder::from_slice(&digest[..16]).map_or_else(|_| id, uuid::Builder::into_uuid)
}

fn unreadable(event: &RecordedEvent, reason: &dyn std::fmt::Display) -> CodecError {
    CodecError::Unreadable {
        position: event.position,
        stream_type: event.stream.stream_type.to_string(),
        event_type: event.event_type.clone(),
        event_version: event.event_version.clone(),
        reason: reason.to_string(),
    }
}

/// Collects the subjects of all fields that have a value to seal.
struct Subjects(Vec<Subject>);

impl FieldVisitor for Subjects {
    fn field(
        &mut self,
        _: &'static str,
        subject: Subject,
        field: &mut dyn SealedField,
    ) -> Result<(), SealError> {
        if field.to_json().is_some_and(|json| json != b"null") && !self.0.contains(&subject) {
            self.0.push(subject);
        }
        Ok(())
    }
}
