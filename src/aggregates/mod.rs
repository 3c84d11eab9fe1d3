//! The rules of all aggregates: state + command → events. Pure: no I/O, no clock, no randomness, no SQL, no HTTP.
//!
//! This file has the only list of all aggregates; everything else about an aggregate is in the folder named after it.

pub mod account;
pub mod api_key;
pub mod bearer_token;
pub mod device_code;
pub mod ending;
pub mod field;
pub mod invite;
pub mod secret;
pub mod sentences;
pub mod session;
pub mod sign_in_link;
pub mod source;
pub mod user;

use cqrs_es::{Aggregate, DomainEvent};
use serde::Serialize;
use serde::de::DeserializeOwned;
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};
use uuid::Uuid;

use crate::event_log::StreamId;
use crate::event_log::claim::{ClaimChange, ClaimKey};
use crate::ids::AccountId;
use crate::sealing::{FieldVisitor, SealError, SealedFields, Subject};

/// Derives claim keys with a keyed hash, so that names that could be guessed cannot be read from the tables of the log.
pub trait ClaimHasher {
    /// The claim key of `name` in the set `kind`. Equal names give equal keys.
    fn claim(&self, kind: &'static str, name: &[u8]) -> ClaimKey;
}

/// The claims that an event takes and releases. Aggregates without claims use the default.
pub trait ClaimChanges {
    /// The changes in order. Depends only on the event, its stream and the hasher, so that a replay gives the same
    /// claims.
    fn claims(&self, _stream: Uuid, _hasher: &dyn ClaimHasher) -> Vec<ClaimChange> {
        Vec::new()
    }
}

/// The kinds of claims that are taken and released by sealed names, each with the kind of the subject whose key the name is
/// sealed under; the subject is the holder. Once that key is gone, the log no longer says who holds such a claim.
pub const CLAIMS_BY_SEALED_NAME: [(&str, &str); 5] = [
    ("username", "user"),
    ("github_id", "user"),
    ("invited_name", "name"),
    ("account_name", "account"),
    ("user_code", "device_code"),
];

/// A stored event of one of Tenure's aggregates.
pub trait StoredEvent: DomainEvent + SealedFields + ClaimChanges {
    /// Stored name and version of every event of this aggregate that this release can read.
    const KINDS: &'static [(&'static str, &'static str)];

    /// The stored names of the events that destroy the data key of the stream's own subject. Every node drops that key
    /// from memory when it sees such a name; it does not decode the payload.
    const ENDS_SUBJECT: &'static [&'static str] = &[];

    /// The stored name and version of this event.
    fn kind(&self) -> (&'static str, &'static str);

    /// The account that this event in `stream` concerns; none for events that belong to no account, such as those of
    /// users.
    fn account(&self, stream: Uuid) -> Option<AccountId>;

    /// The subject whose data key is created with this event in `stream`, if any.
    fn begins_subject(&self, stream: Uuid) -> Option<Subject>;

    /// The subjects whose data keys this event in `stream` destroys.
    fn ends_subjects(&self, _: Uuid) -> Vec<Subject> {
        Vec::new()
    }
}

/// One of Tenure's aggregates. `decide` takes `&self`, so that one loaded state can serve many decisions.
pub trait EventSourced: Aggregate<Event: StoredEvent> + Clone + SealedFields + 'static {
    /// Must be raised when the serialized state changes; snapshots of an older version are then ignored.
    const STATE_VERSION: i32;

    /// Decides a command: the events to store, in order. Empty if the command changes nothing.
    ///
    /// # Errors
    /// The aggregate's refusal: the rule that forbids the command.
    fn decide(&self, command: Self::Command) -> Result<Vec<Self::Event>, Self::Error>;

    /// The stream of the aggregate with this ID.
    #[must_use]
    fn stream(id: Uuid) -> StreamId {
        StreamId::new(Self::TYPE, id)
    }

    /// The subject of the aggregate with this ID, whose data key seals the fields of its stream unless an event names
    /// another subject.
    #[must_use]
    fn subject(id: Uuid) -> Subject {
        Subject { kind: Self::TYPE, id }
    }
}

/// Implements cqrs-es's `Aggregate::handle` through [`EventSourced::decide`].
macro_rules! handle_by_decide {
    () => {
        async fn handle(
            &mut self,
            command: Self::Command,
            _: &Self::Services,
            sink: &cqrs_es::event_sink::EventSink<Self>,
        ) -> Result<(), Self::Error> {
            for event in <Self as crate::aggregates::EventSourced>::decide(self, command)? {
                sink.write(event, self).await;
            }
            Ok(())
        }
    };
}
use handle_by_decide;

/// The JSON Schema of the payloads of a stream's events: one alternative for each event.
pub struct PayloadSchema {
    /// The type of the stream.
    pub stream_type: &'static str,
    /// The schema.
    pub schema: RefOr<Schema>,
    /// The schemas that it refers to, by name.
    pub named: Vec<(String, RefOr<Schema>)>,
}

macro_rules! all_aggregates {
    ($($(#[$doc:meta])* $variant:ident: $aggregate:ty, $event:ty;)+) => {
        /// An event of any of Tenure's aggregates.
        #[derive(Clone, Debug, PartialEq)]
        pub enum AnyEvent {
            $($(#[$doc])* $variant($event),)+
        }

        $(impl From<$event> for AnyEvent {
            fn from(event: $event) -> Self {
                Self::$variant(event)
            }
        }

        impl TryFrom<AnyEvent> for $event {
            type Error = AnyEvent;

            fn try_from(event: AnyEvent) -> Result<Self, AnyEvent> {
                match event {
                    AnyEvent::$variant(event) => Ok(event),
                    #[allow(unreachable_patterns)]
                    other => Err(other),
                }
            }
        })+

        /// The stream types of Tenure's aggregates. They are refused to foreign aggregates.
        pub const STREAM_TYPES: &[&str] = &[$(<$aggregate as Aggregate>::TYPE),+];

        /// The subject whose data key an event with this stored name destroys, if any. None for foreign streams.
        #[must_use]
        pub fn ended_subject(stream: &StreamId, event_type: &str) -> Option<Subject> {
            let (ends, subject): (&[&str], fn(Uuid) -> Subject) = match &*stream.stream_type {
                $(<$aggregate as Aggregate>::TYPE => {
                    (<$event as StoredEvent>::ENDS_SUBJECT, <$aggregate as EventSourced>::subject)
                })+
                _ => return None,
            };
            ends.contains(&event_type).then(|| Uuid::parse_str(&stream.id).ok().map(subject)).flatten()
        }

        /// Stream type, event name and version of every stored event that this release can read.
        #[must_use]
        pub fn catalogue() -> Vec<(&'static str, &'static str, &'static str)> {
            let mut all = Vec::new();
            $(for (name, version) in <$event as StoredEvent>::KINDS {
                all.push((<$aggregate as Aggregate>::TYPE, *name, *version));
            })+
            all
        }

        /// The schema of the payloads of each stream type, with the schemas that it refers to.
        #[must_use]
        pub fn payload_schemas() -> Vec<PayloadSchema> {
            let mut all = Vec::new();
            $({
                let mut named = Vec::new();
                <$event as ToSchema>::schemas(&mut named);
                let (stream_type, schema) = (<$aggregate as Aggregate>::TYPE, <$event as PartialSchema>::schema());
                all.push(PayloadSchema { stream_type, schema, named });
            })+
            all
        }

        impl AnyEvent {
            /// Decodes a stored payload. Sealed fields stay absent until they are opened.
            ///
            /// # Errors
            /// [`DecodeError`]: an unknown stream type, event name or version, or a payload that does not match the
            /// event.
            pub fn from_payload(
                stream_type: &str,
                event_type: &str,
                event_version: &str,
                payload: &[u8],
            ) -> Result<Self, DecodeError> {
                match stream_type {
                    $(<$aggregate as Aggregate>::TYPE => {
                        decode::<$event>(event_type, event_version, payload).map(Self::$variant)
                    })+
                    _ => Err(DecodeError::UnknownStreamType),
                }
            }

            /// The claims that the event takes and releases, in order.
            #[must_use]
            pub fn claims(&self, stream: Uuid, hasher: &dyn ClaimHasher) -> Vec<ClaimChange> {
                match self {
                    $(Self::$variant(event) => event.claims(stream, hasher),)+
                }
            }

            /// The stored name and version of the event.
            #[must_use]
            pub fn kind(&self) -> (&'static str, &'static str) {
                match self {
                    $(Self::$variant(event) => event.kind(),)+
                }
            }

            /// The payload that is stored in clear, without the sealed fields.
            ///
            /// # Errors
            /// The event cannot be serialized.
            pub fn payload(&self) -> Result<Vec<u8>, serde_json::Error> {
                match self {
                    $(Self::$variant(event) => serde_json::to_vec(event),)+
                }
            }

            /// The account that this event in `stream` concerns, if any.
            #[must_use]
            pub fn account(&self, stream: Uuid) -> Option<AccountId> {
                match self {
                    $(Self::$variant(event) => event.account(stream),)+
                }
            }

            /// The subject whose data key is created with this event in `stream`, if any.
            #[must_use]
            pub fn begins_subject(&self, stream: Uuid) -> Option<Subject> {
                match self {
                    $(Self::$variant(event) => event.begins_subject(stream),)+
                }
            }

            /// The subjects whose data keys this event in `stream` destroys.
            #[must_use]
            pub fn ends_subjects(&self, stream: Uuid) -> Vec<Subject> {
                match self {
                    $(Self::$variant(event) => event.ends_subjects(stream),)+
                }
            }

            /// The subject of the aggregate that `stream` belongs to.
            #[must_use]
            pub fn subject(&self, stream: Uuid) -> Subject {
                match self {
                    $(Self::$variant(_) => <$aggregate as EventSourced>::subject(stream),)+
                }
            }
        }

        impl SealedFields for AnyEvent {
            fn visit_sealed(&mut self, owner: Subject, visitor: &mut dyn FieldVisitor) -> Result<(), SealError> {
                match self {
                    $(Self::$variant(event) => event.visit_sealed(owner, visitor),)+
                }
            }
        }
    };
}

all_aggregates! {
    /// An event of a user.
    User: user::User, user::UserEvent;
    /// An event of an account.
    Account: account::Account, account::AccountEvent;
    /// An event of an invite.
    Invite: invite::Invite, invite::InviteEvent;
    /// An event of an API key.
    ApiKey: api_key::ApiKey, api_key::ApiKeyEvent;
    /// An event of a device code.
    DeviceCode: device_code::DeviceCode, device_code::DeviceCodeEvent;
    /// An event of a user's bearer token.
    BearerToken: bearer_token::BearerToken, bearer_token::BearerTokenEvent;
    /// An event of a browser session.
    Session: session::Session, session::SessionEvent;
    /// An event of a sign-in link.
    SignInLink: sign_in_link::SignInLink, sign_in_link::SignInLinkEvent;
    /// An event of a source or of one of its pipes.
    Source: source::Source, source::SourceEvent;
    /// An event that clears the rows left by a closed account, a forgotten user or an ended membership.
    Ending: ending::Ending, ending::EndingEvent;
}

/// Why this release cannot read a stored event.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// The stream type is not one of Tenure's.
    #[error("the stream type is not one of Tenure's")]
    UnknownStreamType,
    /// This release does not know the event name or version.
    #[error(
        "this release does not know this event type or version; run the release that wrote it, or a newer one"
    )]
    UnknownEvent,
    /// The payload does not match the event type.
    #[error("the payload does not match the event type")]
    Payload(#[source] serde_json::Error),
}

fn decode<E: StoredEvent + Serialize + DeserializeOwned>(
    event_type: &str,
    event_version: &str,
    payload: &[u8],
) -> Result<E, DecodeError> {
    if !E::KINDS.contains(&(event_type, event_version)) {
        return Err(DecodeError::UnknownEvent);
    }
    let event: E = serde_json::from_slice(payload).map_err(DecodeError::Payload)?;
    // `kind` follows from the content. If it differs from the stored label, the payload is not what it claims to be.
    if event.kind() == (event_type, event_version) { Ok(event) } else { Err(DecodeError::UnknownEvent) }
}
