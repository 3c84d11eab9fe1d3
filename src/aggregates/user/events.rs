//! What can have happened to a person's record.

use std::str::FromStr;

use cqrs_es::DomainEvent;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::values::{AvatarUrl, Email, GithubId, GithubLogin, Username};
use crate::aggregates::StoredEvent;
use crate::aggregates::field::Invalid;
use crate::clock::Timestamp;
use crate::ids::{AccountId, NameKeyId};
use crate::sealing::{FieldVisitor, SealError, Sealed, SealedFields, Subject};

/// How a person signs in.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UserMode {
    /// Through GitHub.
    Github,
    /// By one-time links that an operator hands out.
    #[default]
    Internal,
}

impl UserMode {
    /// The stored name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Github => "github",
            Self::Internal => "internal",
        }
    }
}

impl FromStr for UserMode {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        match text {
            "github" => Ok(Self::Github),
            "internal" => Ok(Self::Internal),
            _ => Err(Invalid { field: "mode", rule: "`github` or `internal`" }),
        }
    }
}

/// The kind of stream that these events belong to.
pub const STREAM_TYPE: &str = "user";

/// An event of a user. Fields of type [`Sealed`] are not part of the payload.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UserEvent {
    /// The person is known from now on.
    Registered {
        /// How the person signs in.
        mode: UserMode,
        /// When.
        at: Timestamp,
        /// The unique name.
        #[serde(skip)]
        username: Sealed<Username>,
        /// Where the person can be reached.
        #[serde(skip)]
        email: Sealed<Option<Email>>,
        /// GitHub's number for the person.
        #[serde(skip)]
        github_id: Sealed<Option<GithubId>>,
        /// The login at GitHub.
        #[serde(skip)]
        github_login: Sealed<Option<GithubLogin>>,
        /// The person's picture.
        #[serde(skip)]
        avatar_url: Sealed<Option<AvatarUrl>>,
    },
    /// GitHub said something new of the person.
    ProfileRefreshed {
        /// When.
        at: Timestamp,
        /// The login at GitHub.
        #[serde(skip)]
        github_login: Sealed<GithubLogin>,
        /// Where the person can be reached.
        #[serde(skip)]
        email: Sealed<Option<Email>>,
        /// The person's picture.
        #[serde(skip)]
        avatar_url: Sealed<Option<AvatarUrl>>,
        /// The new username, if it follows the login.
        #[serde(skip)]
        username: Sealed<Option<Username>>,
        /// The username that is given up for it.
        #[serde(skip)]
        former_username: Sealed<Option<Username>>,
    },
    /// The person's name could be taken for something else, and gave way to another.
    Renamed {
        /// When.
        at: Timestamp,
        /// The new username.
        #[serde(skip)]
        username: Sealed<Username>,
        /// The username that is given up for it.
        #[serde(skip)]
        former_username: Sealed<Username>,
    },
    /// What others said of the name before the person had it is the person's from now on, and goes with them.
    InvitedNameTaken {
        /// When.
        at: Timestamp,
        /// The key that seals it.
        key: NameKeyId,
        /// The name.
        #[serde(skip)]
        username: Sealed<Username>,
    },
    /// The person runs the instance from now on.
    OperatorGranted {
        /// When.
        at: Timestamp,
    },
    /// The person no longer runs the instance.
    OperatorRevoked {
        /// When.
        at: Timestamp,
    },
    /// The person's names are free, what the log says of them is unreadable from now on, and all that was theirs ends:
    /// memberships with their keys, tokens, sessions, invites.
    Forgotten {
        /// When.
        at: Timestamp,
        /// Version 2: the keys of names that go with them.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        name_keys: Vec<NameKeyId>,
        /// The username that is given up.
        #[serde(skip)]
        username: Sealed<Username>,
        /// The number at GitHub that is given up.
        #[serde(skip)]
        github_id: Sealed<Option<GithubId>>,
    },
}

impl DomainEvent for UserEvent {
    fn event_type(&self) -> String {
        self.kind().0.to_owned()
    }

    fn event_version(&self) -> String {
        self.kind().1.to_owned()
    }
}

impl StoredEvent for UserEvent {
    const KINDS: &'static [(&'static str, &'static str)] = &[
        ("user.registered", "1"),
        ("user.profile_refreshed", "1"),
        ("user.renamed", "1"),
        ("user.invited_name_taken", "1"),
        ("user.operator_granted", "1"),
        ("user.operator_revoked", "1"),
        ("user.forgotten", "1"),
        ("user.forgotten", "2"),
    ];
    const ENDS_SUBJECT: &'static [&'static str] = &["user.forgotten"];

    fn kind(&self) -> (&'static str, &'static str) {
        match self {
            Self::Registered { .. } => ("user.registered", "1"),
            Self::ProfileRefreshed { .. } => ("user.profile_refreshed", "1"),
            Self::Renamed { .. } => ("user.renamed", "1"),
            Self::InvitedNameTaken { .. } => ("user.invited_name_taken", "1"),
            Self::OperatorGranted { .. } => ("user.operator_granted", "1"),
            Self::OperatorRevoked { .. } => ("user.operator_revoked", "1"),
            Self::Forgotten { name_keys, .. } if name_keys.is_empty() => ("user.forgotten", "1"),
            Self::Forgotten { .. } => ("user.forgotten", "2"),
        }
    }

    fn account(&self, _: Uuid) -> Option<AccountId> {
        None
    }

    fn begins_subject(&self, stream: Uuid) -> Option<Subject> {
        matches!(self, Self::Registered { .. }).then_some(Subject { kind: STREAM_TYPE, id: stream })
    }

    fn ends_subjects(&self, stream: Uuid) -> Vec<Subject> {
        match self {
            Self::Forgotten { name_keys, .. } => [Subject { kind: STREAM_TYPE, id: stream }]
                .into_iter()
                .chain(name_keys.iter().map(|key| key.subject()))
                .collect(),
            _ => Vec::new(),
        }
    }
}

impl SealedFields for UserEvent {
    fn visit_sealed(&mut self, owner: Subject, visitor: &mut dyn FieldVisitor) -> Result<(), SealError> {
        match self {
            Self::Registered { username, email, github_id, github_login, avatar_url, .. } => {
                visitor.field("username", owner, username)?;
                visitor.field("email", owner, email)?;
                visitor.field("github_id", owner, github_id)?;
                visitor.field("github_login", owner, github_login)?;
                visitor.field("avatar_url", owner, avatar_url)
            }
            Self::ProfileRefreshed { github_login, email, avatar_url, username, former_username, .. } => {
                visitor.field("github_login", owner, github_login)?;
                visitor.field("email", owner, email)?;
                visitor.field("avatar_url", owner, avatar_url)?;
                visitor.field("username", owner, username)?;
                visitor.field("former_username", owner, former_username)
            }
            Self::Renamed { username, former_username, .. } => {
                visitor.field("username", owner, username)?;
                visitor.field("former_username", owner, former_username)
            }
            Self::Forgotten { username, github_id, .. } => {
                visitor.field("username", owner, username)?;
                visitor.field("github_id", owner, github_id)
            }
            Self::InvitedNameTaken { username, .. } => visitor.field("username", owner, username),
            Self::OperatorGranted { .. } | Self::OperatorRevoked { .. } => Ok(()),
        }
    }
}
