//! Event 1: registers the seeded user, which is the same in every log.

use bytes::Bytes;
use uuid::Uuid;

use crate::aggregates::EventSourced as _;
use crate::aggregates::user::{Email, User, UserEvent, UserMode, Username};
use crate::clock::Timestamp;
use crate::codec::{Codec, CodecError, Decided};
use crate::context::{Actor, Context};
use crate::event_log::{AppendError, EventLog, Premises, Unit};
use crate::ids::{EventId, UserId};

/// The identity of event 1 of every log.
pub const EVENT_ID: EventId = EventId::from_uuid(Uuid::from_u128(1));

/// The username of the seeded user, which owns whatever has no other owner.
pub const USERNAME: &str = "unauthenticated";

/// The email address of the seeded user; no mail is sent to it.
pub const EMAIL: &str = "unauthenticated@local";

/// Why event 1 could not be written.
#[derive(Debug, thiserror::Error)]
pub enum GenesisError {
    /// The event could not be encoded or sealed.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// The event could not be stored.
    #[error(transparent)]
    Append(#[from] AppendError),
}

/// Writes event 1, unless another node has written it.
pub(crate) async fn write(log: &EventLog, codec: &Codec, at: Timestamp) -> Result<(), GenesisError> {
    let id = UserId::UNAUTHENTICATED.as_uuid();
    let (Ok(username), Ok(email)) = (Username::parse(USERNAME), Email::parse(EMAIL)) else {
        return Ok(());
    };
    let event = UserEvent::Registered {
        mode: UserMode::Internal,
        at,
        username: username.into(),
        email: Some(email).into(),
        github_id: None.into(),
        github_login: None.into(),
        avatar_url: None.into(),
    };
    let stream = User::stream(id);
    let mut decided =
        [Decided { id: EVENT_ID, stream_id: id, stream: stream.clone(), version: 1, event: event.into() }];
    let mut unit = Unit { at, premises: Premises::of_stream(stream, 0), ..Unit::default() };
    let metadata = Bytes::from(Context::of(Actor::System).metadata());
    codec.encode(&mut unit, &mut decided, &metadata, log.primary()).await?;
    match log.append(unit).await {
        // A conflict means that another node has written event 1.
        Ok(_) | Err(AppendError::Conflict { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
