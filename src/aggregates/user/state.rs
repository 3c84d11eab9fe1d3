//! The state of a user that decisions need.

use cqrs_es::Aggregate;
use serde::{Deserialize, Serialize};

use super::commands::UserCommand;
use super::events::{STREAM_TYPE, UserEvent, UserMode};
use super::refusal::UserRefusal;
use super::values::{AvatarUrl, Email, GithubId, GithubLogin, Username};
use crate::aggregates::handle_by_decide;
use crate::clock::Timestamp;
use crate::ids::NameKeyId;
use crate::sealing::{FieldVisitor, SealError, Sealed, SealedFields, Subject};

/// A user, folded from the events of the stream.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub enum User {
    /// The stream has no events.
    #[default]
    Unknown,
    /// The user is registered and can act.
    Registered(Registered),
    /// The user was forgotten. The ID is never used again.
    Forgotten,
}

/// A registered user.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Registered {
    /// How the user signs in.
    pub mode: UserMode,
    /// When the user registered.
    pub registered_at: Timestamp,
    /// Whether the user is an operator.
    pub operator: bool,
    /// The name keys of usernames that had been invited before the user took them. Destroyed with the user.
    pub name_keys: Vec<NameKeyId>,
    /// The username, unique without ASCII case.
    #[serde(skip)]
    pub username: Sealed<Username>,
    /// The e-mail address, if known.
    #[serde(skip)]
    pub email: Sealed<Option<Email>>,
    /// The GitHub user ID; none for internal users.
    #[serde(skip)]
    pub github_id: Sealed<Option<GithubId>>,
    /// The GitHub login; none for internal users.
    #[serde(skip)]
    pub github_login: Sealed<Option<GithubLogin>>,
    /// The URL of the user's picture, if there is one.
    #[serde(skip)]
    pub avatar_url: Sealed<Option<AvatarUrl>>,
}

impl User {
    /// The registered user; none if unknown or forgotten.
    #[must_use]
    pub const fn registered(&self) -> Option<&Registered> {
        match self {
            Self::Registered(person) => Some(person),
            Self::Unknown | Self::Forgotten => None,
        }
    }
}

impl Aggregate for User {
    const TYPE: &'static str = STREAM_TYPE;
    type Command = UserCommand;
    type Event = UserEvent;
    type Error = UserRefusal;
    type Services = ();

    handle_by_decide!();

    fn apply(&mut self, event: UserEvent) {
        match (&mut *self, event) {
            (_, UserEvent::Registered { mode, at, username, email, github_id, github_login, avatar_url }) => {
                *self = Self::Registered(Registered {
                    mode,
                    registered_at: at,
                    operator: false,
                    name_keys: Vec::new(),
                    username,
                    email,
                    github_id,
                    github_login,
                    avatar_url,
                });
            }
            (
                Self::Registered(person),
                UserEvent::ProfileRefreshed { github_login, email, avatar_url, username, .. },
            ) => {
                person.github_login = match github_login {
                    Sealed::Open(login) => Sealed::Open(Some(login)),
                    Sealed::Unreadable => Sealed::Unreadable,
                };
                person.email = email;
                person.avatar_url = avatar_url;
                // The event has a username only if it changed.
                match username {
                    Sealed::Open(Some(name)) => person.username = Sealed::Open(name),
                    Sealed::Open(None) => {}
                    Sealed::Unreadable => person.username = Sealed::Unreadable,
                }
            }
            (Self::Registered(person), UserEvent::Renamed { username, .. }) => person.username = username,
            (Self::Registered(person), UserEvent::InvitedNameTaken { key, .. }) => person.name_keys.push(key),
            (Self::Registered(person), UserEvent::OperatorGranted { .. }) => person.operator = true,
            (Self::Registered(person), UserEvent::OperatorRevoked { .. }) => person.operator = false,
            (_, UserEvent::Forgotten { .. }) => *self = Self::Forgotten,
            (Self::Unknown | Self::Forgotten, _) => {}
        }
    }
}

impl SealedFields for User {
    fn visit_sealed(&mut self, owner: Subject, visitor: &mut dyn FieldVisitor) -> Result<(), SealError> {
        let Self::Registered(person) = self else {
            return Ok(());
        };
        visitor.field("username", owner, &mut person.username)?;
        visitor.field("email", owner, &mut person.email)?;
        visitor.field("github_id", owner, &mut person.github_id)?;
        visitor.field("github_login", owner, &mut person.github_login)?;
        visitor.field("avatar_url", owner, &mut person.avatar_url)
    }
}
