//! The events of a user.

use std::str::FromStr;

use cqrs_es::DomainEvent;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::values::{AvatarUrl, Email, GithubId, GithubLogin, Username};
use crate::aggregates::StoredEvent;
use crate::aggregates::field::Invalid;
use crate::clock::Timestamp;
use crate::ids::{AccountId, NameKeyId};
use crate::sealing::{FieldVisitor, SealError, Sealed, SealedFields, Subject};

/// How a user signs in.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum UserMode {
    /// Signs in through GitHub.
    Github,
    /// Signs in with one-time links that an operator issues.
    #[default]
    Internal,
}

impl UserMode {
    /// The name in storage and in the API.
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

/// The stream type of users.
pub const STREAM_TYPE: &str = "user";

/// An event of a user. [`Sealed`] fields are stored encrypted, outside the payload.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum UserEvent {
    /// The user registered.
    Registered {
        /// How the user signs in.
        mode: UserMode,
        /// When the user registered.
        at: Timestamp,
        /// The username, unique without ASCII case.
        #[serde(skip)]
        username: Sealed<Username>,
        /// The e-mail address, if known.
        #[serde(skip)]
        email: Sealed<Option<Email>>,
        /// The GitHub user ID; none for internal users.
        #[serde(skip)]
        github_id: Sealed<Option<GithubId>>,
        /// The GitHub login; none for internal users.
        #[serde(skip)]
        github_login: Sealed<Option<GithubLogin>>,
        /// The URL of the user's picture, if there is one.
        #[serde(skip)]
        avatar_url: Sealed<Option<AvatarUrl>>,
    },
    /// GitHub reported a changed profile.
    ProfileRefreshed {
        /// When GitHub returned the profile.
        at: Timestamp,
        /// The login at GitHub, changed or not.
        #[serde(skip)]
        github_login: Sealed<GithubLogin>,
        /// The public e-mail address at GitHub, if there is one.
        #[serde(skip)]
        email: Sealed<Option<Email>>,
        /// The URL of the picture at GitHub, if there is one.
        #[serde(skip)]
        avatar_url: Sealed<Option<AvatarUrl>>,
        /// The new username, if it changed with the login.
        #[serde(skip)]
        username: Sealed<Option<Username>>,
        /// The username that was given up for it; none if the username stayed.
        #[serde(skip)]
        former_username: Sealed<Option<Username>>,
    },
    /// An invalid username, which could be read as an ID, `me` or a path step, was replaced.
    Renamed {
        /// When the user was renamed.
        at: Timestamp,
        /// The new username.
        #[serde(skip)]
        username: Sealed<Username>,
        /// The username that was given up.
        #[serde(skip)]
        former_username: Sealed<Username>,
    },
    /// The user took a name that had been invited, and with it the name key. What earlier invites say of the name now
    /// belongs to the user and is forgotten with them.
    InvitedNameTaken {
        /// When the user took the name.
        at: Timestamp,
        /// The name key, under which those invites are sealed.
        key: NameKeyId,
        /// The username that the user took.
        #[serde(skip)]
        username: Sealed<Username>,
    },
    /// The user became an operator.
    OperatorGranted {
        /// When the user became an operator.
        at: Timestamp,
    },
    /// The user stopped being an operator.
    OperatorRevoked {
        /// When the user stopped being an operator.
        at: Timestamp,
    },
    /// The user was forgotten: the names are free, what the log says of the user is unreadable, and everything that
    /// belonged to the user has ended: memberships with their keys, tokens, sessions, invites.
    Forgotten {
        /// When the user was forgotten.
        at: Timestamp,
        /// Version 2: the name keys that are destroyed with the user's own key.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        name_keys: Vec<NameKeyId>,
        /// The username that was given up.
        #[serde(skip)]
        username: Sealed<Username>,
        /// The GitHub user ID that was given up; none for internal users.
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
            // Without name keys the payload is the same as in version 1.
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
