//! The rules: state + command → events. Pure: no I/O, no clock, no randomness, no SQL, no HTTP.
//!
//! This file holds the one list of all aggregates; everything else about one is in the folder named after it.

pub mod account;
pub mod api_key;
pub mod bearer_token;
pub mod device_code;
pub mod ending;
pub mod field;
pub mod invite;
pub mod secret;
pub mod session;
pub mod sign_in_link;
pub mod source;
pub mod user;

use cqrs_es::{Aggregate, DomainEvent};
use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use crate::event_log::StreamId;
use crate::event_log::claim::{ClaimChange, ClaimKey};
use crate::ids::AccountId;
use crate::sealing::{FieldVisitor, SealError, SealedFields, Subject};

/// Makes the keys of claims on names that could be guessed, so that the log's tables do not give them away.
pub trait ClaimHasher {
    /// The claim on a name within a set; equal names give equal keys.
    fn claim(&self, kind: &'static str, name: &[u8]) -> ClaimKey;
}

/// What an event does to the claims. Aggregates that claim nothing implement it empty.
pub trait ClaimChanges {
    /// The changes, in order; a pure function of the event.
    fn claims(&self, _stream: Uuid, _hasher: &dyn ClaimHasher) -> Vec<ClaimChange> {
        Vec::new()
    }
}

/// An event of one of our aggregates, as it is stored.
pub trait StoredEvent: DomainEvent + SealedFields + ClaimChanges {
    /// The stored names and versions of all events of this aggregate that this release reads.
    const KINDS: &'static [(&'static str, &'static str)];

    /// The stored names of the events that destroy the data key of the stream's own subject: nodes drop it from memory
    /// when they see one, without reading what it says.
    const ENDS_SUBJECT: &'static [&'static str] = &[];

    /// This event's stored name and version.
    fn kind(&self) -> (&'static str, &'static str);

    /// The tenant that the event of this stream concerns.
    fn account(&self, stream: Uuid) -> Option<AccountId>;

    /// The subject whose data key begins with this event of the stream, if one does.
    fn begins_subject(&self, stream: Uuid) -> Option<Subject>;

    /// The subjects whose data keys this event of the stream destroys.
    fn ends_subjects(&self, _: Uuid) -> Vec<Subject> {
        Vec::new()
    }
}

/// An aggregate of ours: decides without touching itself, so that one loaded state serves many decisions.
pub trait EventSourced: Aggregate<Event: StoredEvent> + Clone + SealedFields + 'static {
    /// Raised whenever the shape of the state changes; older snapshots are then not read.
    const STATE_VERSION: i32;

    /// What the command does to this state.
    ///
    /// # Errors
    /// The rule that forbids it.
    fn decide(&self, command: Self::Command) -> Result<Vec<Self::Event>, Self::Error>;

    /// The stream of the aggregate with this identifier.
    #[must_use]
    fn stream(id: Uuid) -> StreamId {
        StreamId::new(Self::TYPE, id)
    }

    /// The subject whose key seals the fields of this stream.
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

macro_rules! all_aggregates {
    ($($(#[$doc:meta])* $variant:ident: $aggregate:ty, $event:ty;)+) => {
        /// An event of any of our aggregates.
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

        /// The types of our own streams.
        pub const STREAM_TYPES: &[&str] = &[$(<$aggregate as Aggregate>::TYPE),+];

        /// The subject whose data key an event with this stored name destroys, if it does; none for streams of others.
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

        /// Every stored event that this release reads: stream type, name, version.
        #[must_use]
        pub fn catalogue() -> Vec<(&'static str, &'static str, &'static str)> {
            let mut all = Vec::new();
            $(for (name, version) in <$event as StoredEvent>::KINDS {
                all.push((<$aggregate as Aggregate>::TYPE, *name, *version));
            })+
            all
        }

        impl AnyEvent {
            /// Reads a stored payload; sealed fields are absent until they are opened.
            ///
            /// # Errors
            /// An unknown name or version, or a payload of another shape.
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

            /// What the event does to the claims.
            #[must_use]
            pub fn claims(&self, stream: Uuid, hasher: &dyn ClaimHasher) -> Vec<ClaimChange> {
                match self {
                    $(Self::$variant(event) => event.claims(stream, hasher),)+
                }
            }

            /// The stored name and version.
            #[must_use]
            pub fn kind(&self) -> (&'static str, &'static str) {
                match self {
                    $(Self::$variant(event) => event.kind(),)+
                }
            }

            /// The public payload, in which sealed fields are absent.
            ///
            /// # Errors
            /// The event does not serialise.
            pub fn payload(&self) -> Result<Vec<u8>, serde_json::Error> {
                match self {
                    $(Self::$variant(event) => serde_json::to_vec(event),)+
                }
            }

            /// The tenant that the event of this stream concerns.
            #[must_use]
            pub fn account(&self, stream: Uuid) -> Option<AccountId> {
                match self {
                    $(Self::$variant(event) => event.account(stream),)+
                }
            }

            /// The subject whose data key begins with this event of the stream, if one does.
            #[must_use]
            pub fn begins_subject(&self, stream: Uuid) -> Option<Subject> {
                match self {
                    $(Self::$variant(event) => event.begins_subject(stream),)+
                }
            }

            /// The subjects whose data keys this event of the stream destroys.
            #[must_use]
            pub fn ends_subjects(&self, stream: Uuid) -> Vec<Subject> {
                match self {
                    $(Self::$variant(event) => event.ends_subjects(stream),)+
                }
            }

            /// The subject of a stream of ours.
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
    /// Of a person.
    User: user::User, user::UserEvent;
    /// Of a tenant.
    Account: account::Account, account::AccountEvent;
    /// Of an offer of membership.
    Invite: invite::Invite, invite::InviteEvent;
    /// Of a key that acts for a tenant.
    ApiKey: api_key::ApiKey, api_key::ApiKeyEvent;
    /// Of a device that wants to act for a person.
    DeviceCode: device_code::DeviceCode, device_code::DeviceCodeEvent;
    /// Of an access token of a person.
    BearerToken: bearer_token::BearerToken, bearer_token::BearerTokenEvent;
    /// Of a browser's sign-in.
    Session: session::Session, session::SessionEvent;
    /// Of a sign in link.
    SignInLink: sign_in_link::SignInLink, sign_in_link::SignInLinkEvent;
    /// Of a named actor in a tenant, and of its pipes.
    Source: source::Source, source::SourceEvent;
    /// Of what an account, a person or a membership that ended has left behind.
    Ending: ending::Ending, ending::EndingEvent;
}

/// Why a stored event cannot be read by this release.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// The stream belongs to no aggregate of ours.
    #[error("its stream type is not one of Tenure's")]
    UnknownStreamType,
    /// A name or version that this release does not know.
    #[error(
        "this release does not know this event type or version; run the release that wrote it, or a newer one"
    )]
    UnknownEvent,
    /// The payload is not of the event's shape.
    #[error("its payload is not of the event's shape")]
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
    if event.kind() == (event_type, event_version) { Ok(event) } else { Err(DecodeError::UnknownEvent) }
}
