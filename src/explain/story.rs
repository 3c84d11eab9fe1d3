//! What a story consists of.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::clock::Timestamp;
use crate::codec::CodecError;
use crate::event_log::ReadError;
use crate::history::EventRecord;
use crate::ids::{AccountId, ApiKeyId, EventId, InviteId, SourceId, UserId};
use crate::operations::Resource;
use crate::projections::QueryError;

/// What a story is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Thing {
    /// An account, with everything in it.
    Account(AccountId),
    /// A user, with their tokens, sessions, sign-in links, invites and memberships.
    User(UserId),
    /// An API key.
    Key(ApiKeyId),
    /// An invite.
    Invite(InviteId),
    /// A source, with its pipes.
    Source(SourceId),
}

impl Thing {
    /// What it is called.
    #[must_use]
    pub const fn resource(self) -> Resource {
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

/// Who reads a story, which decides whose names it has and how far it goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Viewer {
    /// An operator sees everything.
    Operator,
    /// A member of an account sees what happened in it, and the names of its present members.
    Account(AccountId),
    /// A user sees what happened to them, in accounts that they belong to now.
    User(UserId),
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

/// A part of a story, oldest event first. It can have no event although the story goes on: what belongs to it is looked for in a
/// bounded number of events at a time.
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
