//! Why things are as they are: the story of one thing as a timeline, and what caused an event and what it caused.
//!
//! Each entry is an event with what happened in words, who did it with which credential and on whose behalf, and because of which
//! event. Nothing here checks who may see it.

mod chain;
mod names;
mod related;

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

pub use chain::{Chain, SEARCHED};

use self::names::Names;
use self::related::related_events;
use crate::Tenure;
use crate::aggregates::STREAM_TYPES;
use crate::clock::Timestamp;
use crate::codec::CodecError;
use crate::event_log::{ReadError, RecordedEvent};
use crate::history::EventRecord;
use crate::ids::{AccountId, ApiKeyId, EventId, InviteId, SourceId, UserId};
use crate::operations::Resource;
use crate::projections::QueryError;

/// What a story is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Thing {
    /// An account, with everything in it.
    Account(AccountId),
    /// A user, with their credentials, invites and memberships.
    User(UserId),
    /// An API key.
    Key(ApiKeyId),
    /// An invite.
    Invite(InviteId),
    /// A source, with its pipes.
    Source(SourceId),
}

impl Thing {
    const fn resource(self) -> Resource {
        match self {
            Self::Account(_) => Resource::Account,
            Self::User(_) => Resource::User,
            Self::Key(_) => Resource::ApiKey,
            Self::Invite(_) => Resource::Invite,
            Self::Source(_) => Resource::Source,
        }
    }

    /// The identifier of the thing.
    #[must_use]
    pub const fn id(self) -> Uuid {
        match self {
            Self::Account(id) => id.as_uuid(),
            Self::User(id) => id.as_uuid(),
            Self::Key(id) => id.as_uuid(),
            Self::Invite(id) => id.as_uuid(),
            Self::Source(id) => id.as_uuid(),
        }
    }
}

/// A user, as far as known.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, ToSchema)]
pub struct Person {
    /// The user's identifier.
    pub id: Uuid,
    /// The user's present name; `null` if it is not known.
    #[schema(required = true)]
    pub username: Option<String>,
}

/// Who did something.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, ToSchema)]
pub struct Who {
    /// The kind of actor: `system`, `operator`, `user` (signed in with a session), `token` or `api_key`.
    pub kind: String,
    /// The identifier of the user, token or key; `null` for the other kinds.
    #[schema(required = true)]
    pub id: Option<Uuid>,
    /// What people know it by: a username, the beginning of a token, the label of a key; `null` if there is none.
    #[schema(required = true)]
    pub name: Option<String>,
    /// The user on whose behalf it was done; `null` if it was nobody's.
    #[schema(required = true)]
    pub on_behalf_of: Option<Person>,
}

/// The event that made somebody do something.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, ToSchema)]
pub struct Because {
    /// The identifier of that event.
    #[schema(value_type = Uuid)]
    pub event_id: EventId,
    /// Its position; `null` if it was not found.
    #[schema(required = true)]
    pub position: Option<i64>,
    /// What happened; `null` if it was not found.
    #[schema(required = true)]
    pub event_type: Option<String>,
}

/// An event of a story.
#[derive(Clone, Debug, Serialize)]
pub struct Entry {
    /// What happened, as a sentence.
    pub what: String,
    /// The facts of the event, by name; users by their names.
    pub facts: BTreeMap<String, String>,
    /// Who did it.
    pub who: Who,
    /// Because of which event; `None` if it was a request of its own.
    pub because: Option<Because>,
    /// The event.
    pub event: EventRecord,
}

/// A part of a story, oldest event first.
#[derive(Clone, Debug, Serialize)]
pub struct Story {
    /// The events.
    pub entries: Vec<Entry>,
    /// The position after which the story goes on; `None` at its end.
    pub next: Option<i64>,
    /// The epoch of the positions.
    pub epoch: i64,
    /// Whether there is more than is followed: older credentials of a user who has had very many.
    pub is_partial: bool,
}

/// Why something cannot be explained.
#[derive(Debug, thiserror::Error)]
pub enum ExplainError {
    /// There is no such thing.
    #[error("there is no such {0}")]
    NotFound(Resource),
    /// The identifier is that of something else.
    #[error("{id} identifies something else: {found}, not {asked}")]
    OtherKind {
        /// The identifier.
        id: Uuid,
        /// What was asked for.
        asked: Resource,
        /// The stream type that has the identifier.
        found: String,
    },
    /// The user was forgotten.
    #[error(
        "the user {user} was forgotten at {at}: nothing is told of people who were forgotten; `tenure audit verify-forgotten {user}` \
         shows that nothing is left"
    )]
    Forgotten {
        /// The user.
        user: UserId,
        /// When the user was forgotten.
        at: Timestamp,
    },
    /// There is no such event.
    #[error("there is no event {0}")]
    NoEvent(String),
    /// The log could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Events could not be decoded.
    #[error(transparent)]
    Codec(#[from] CodecError),
}

impl From<QueryError> for ExplainError {
    fn from(error: QueryError) -> Self {
        match error {
            QueryError::NotFound => Self::NotFound(Resource::User),
            QueryError::Unavailable(error) => Self::Read(error),
        }
    }
}

impl Tenure {
    /// The story of a thing after a position, at most so many events.
    ///
    /// # Errors
    /// [`ExplainError`]
    pub async fn explain(&self, thing: Thing, after: i64, limit: usize) -> Result<Story, ExplainError> {
        if let Thing::User(id) = thing {
            match self.reader().user(id).await {
                Ok(user) => {
                    if let Some(at) = user.forgotten_at {
                        return Err(ExplainError::Forgotten { user: id, at });
                    }
                }
                Err(QueryError::NotFound) => return Err(self.not_found(thing).await?),
                Err(error) => return Err(error.into()),
            }
        }
        // One more than asked for, to know whether there is more.
        let mut related = related_events(self, thing, after, limit + 1).await?;
        if related.events.is_empty() && after == 0 {
            return Err(self.not_found(thing).await?);
        }
        let is_more = related.events.len() > limit;
        related.events.truncate(limit);
        let next = related.events.last().filter(|_| is_more).map(|event| event.position);
        let entries = self.tell(&related.events).await?;
        Ok(Story { entries, next, epoch: related.epoch, is_partial: related.is_partial })
    }

    /// Why there is no story: nothing has this identifier, or something else has.
    async fn not_found(&self, thing: Thing) -> Result<ExplainError, ExplainError> {
        let sql = "select stream_type from log.event where stream_id = $1 and stream_type <> 'ending' order by position limit 1";
        let row = self.log().primary().row(sql, &[&thing.id().to_string()]).await?;
        let found: Option<String> = row.map(|row| row.try_get(0)).transpose().map_err(ReadError::from)?;
        let (id, asked) = (thing.id(), thing.resource());
        Ok(match found {
            Some(found) if STREAM_TYPES.contains(&&*found) && found != asked.as_str() => {
                ExplainError::OtherKind { id, asked, found: found.replace('_', " ") }
            }
            _ => ExplainError::NotFound(asked),
        })
    }

    /// The account that a stream belongs to, whether it has ended or not; `None` if there is no such stream, or it belongs to none.
    ///
    /// # Errors
    /// [`ReadError::Unavailable`]
    pub async fn account_of_stream(
        &self,
        stream_type: &str,
        id: Uuid,
    ) -> Result<Option<AccountId>, ReadError> {
        let sql =
            "select account_id from log.event where stream_type = $1 and stream_id = $2 and version = 1";
        let row = self.log().primary().row(sql, &[&stream_type, &id.to_string()]).await?;
        let account: Option<Uuid> = row.map(|row| row.try_get(0)).transpose()?.flatten();
        Ok(account.map(AccountId::from_uuid))
    }

    /// Events as the entries of a story.
    async fn tell(&self, events: &[RecordedEvent]) -> Result<Vec<Entry>, ExplainError> {
        let records = self.describe(events).await?;
        let names = Names::load(self, &records).await?;
        Ok(records.into_iter().map(|record| names.entry(record)).collect())
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.name.clone().or_else(|| self.id.map(|id| id.to_string())).unwrap_or_default();
        match &*self.kind {
            "system" => write!(f, "Tenure itself")?,
            "operator" => write!(f, "an operator")?,
            "user" => write!(f, "{name}, signed in")?,
            "token" => write!(f, "token {name}")?,
            "api_key" => write!(f, "API key {name}")?,
            other => write!(f, "{other} {name}")?,
        }
        match &self.on_behalf_of {
            Some(Person { username: Some(username), .. }) => write!(f, ", on behalf of {username}"),
            Some(Person { id, username: None }) => write!(f, ", on behalf of {id}"),
            None => Ok(()),
        }
    }
}

/// The members of an event's payload; it is an object with one member, that says what happened.
fn payload_of(record: &EventRecord) -> Option<&serde_json::Map<String, Value>> {
    let payload = record.payload.as_object()?;
    match payload.values().next() {
        Some(Value::Object(inner)) if payload.len() == 1 => Some(inner),
        _ => Some(payload),
    }
}
