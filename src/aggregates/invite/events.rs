//! What can have happened to an invite.

use cqrs_es::DomainEvent;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::aggregates::StoredEvent;
use crate::aggregates::user::{UserMode, Username};
use crate::clock::Timestamp;
use crate::ids::{AccountId, NameKeyId, UserId};
use crate::sealing::{FieldVisitor, SealError, Sealed, SealedFields, Subject};

/// The kind of stream that these events belong to.
pub const STREAM_TYPE: &str = "invite";

/// An event of an invite. Fields of type [`Sealed`] are not part of the payload.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InviteEvent {
    /// The offer stands.
    Created {
        /// The tenant that invites.
        account: AccountId,
        /// Who invites.
        inviter: UserId,
        /// The person, if the name was known.
        bound: Option<UserId>,
        /// How a person who was not known must sign in.
        mode: UserMode,
        /// When.
        at: Timestamp,
        /// From when on it is dead.
        expires_at: Timestamp,
        /// Version 2: whose key seals the name. In version 1 every invite had a key of its own.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        invitee_key: Option<InviteeKey>,
        /// The name as it was given.
        #[serde(skip)]
        invitee: Sealed<Username>,
    },
    /// The person it is addressed to has signed up: from now on it is theirs, whatever they are called.
    Bound {
        /// The tenant that invites.
        account: AccountId,
        /// Who.
        user: UserId,
        /// When.
        at: Timestamp,
        /// From when on it is dead.
        expires_at: Timestamp,
        /// Version 2: whose key seals the name.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        invitee_key: Option<InviteeKey>,
        /// The name as it was given.
        #[serde(skip)]
        invitee: Sealed<Username>,
    },
    /// The person has taken it.
    Accepted(InviteEnd),
    /// The person does not want it.
    Declined(InviteEnd),
    /// The account has taken it back.
    Revoked(InviteEnd),
    /// The person it is addressed to is forgotten: the name in it is unreadable from now on. Only in version 1: what is
    /// sealed under the person's own key needs no event.
    InviteeForgotten(InviteEnd),
    /// The name in an invite of version 1 is now sealed under the key of the person or of the name, and becomes unreadable
    /// with it. If a person has the name, the invite is theirs from now on, pending or ended.
    InviteeResealed {
        /// The tenant that invites.
        account: AccountId,
        /// The person, if anybody has the name.
        user: Option<UserId>,
        /// When.
        at: Timestamp,
        /// When a standing offer ends; none if it has been decided or its time is over.
        pending_until: Option<Timestamp>,
        /// Whether it was the person's before, not only the name's.
        was_bound: bool,
        /// Whose key seals the name from now on.
        invitee_key: InviteeKey,
        /// The name as it was given.
        #[serde(skip)]
        invitee: Sealed<Username>,
    },
}

/// Whose key seals the name in an invite.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InviteeKey {
    /// The person's, who had the name already.
    User(UserId),
    /// The name's, which nobody had.
    Name {
        /// The key.
        id: NameKeyId,
        /// Whether it begins with this event.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        begins: bool,
    },
}

impl InviteeKey {
    /// The subject that the key is of.
    #[must_use]
    pub fn subject(self) -> Subject {
        match self {
            Self::User(user) => user.subject(),
            Self::Name { id, .. } => id.subject(),
        }
    }

    /// The same key in a later event.
    #[must_use]
    pub const fn known(self) -> Self {
        match self {
            Self::Name { id, .. } => Self::Name { id, begins: false },
            Self::User(_) => self,
        }
    }
}

/// What ends an invite.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InviteEnd {
    /// The tenant that invites.
    pub account: AccountId,
    /// The person it was addressed to, if known.
    pub user: Option<UserId>,
    /// When.
    pub at: Timestamp,
    /// Whether the offer stood until then.
    pub was_pending: bool,
    /// Whether it was the person's, not only the name's.
    pub was_bound: bool,
    /// Version 2: whose key seals the name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invitee_key: Option<InviteeKey>,
    /// The name as it was given.
    #[serde(skip)]
    pub invitee: Sealed<Username>,
}

impl DomainEvent for InviteEvent {
    fn event_type(&self) -> String {
        self.kind().0.to_owned()
    }

    fn event_version(&self) -> String {
        self.kind().1.to_owned()
    }
}

impl StoredEvent for InviteEvent {
    const KINDS: &'static [(&'static str, &'static str)] = &[
        ("invite.created", "1"),
        ("invite.created", "2"),
        ("invite.bound", "1"),
        ("invite.bound", "2"),
        ("invite.accepted", "1"),
        ("invite.accepted", "2"),
        ("invite.declined", "1"),
        ("invite.declined", "2"),
        ("invite.revoked", "1"),
        ("invite.revoked", "2"),
        ("invite.invitee_forgotten", "1"),
        ("invite.invitee_resealed", "1"),
    ];
    const ENDS_SUBJECT: &'static [&'static str] = &["invite.invitee_forgotten", "invite.invitee_resealed"];

    fn kind(&self) -> (&'static str, &'static str) {
        let version = if self.invitee_key().is_some() { "2" } else { "1" };
        let name = match self {
            Self::InviteeResealed { .. } => return ("invite.invitee_resealed", "1"),
            Self::Created { .. } => "invite.created",
            Self::Bound { .. } => "invite.bound",
            Self::Accepted(_) => "invite.accepted",
            Self::Declined(_) => "invite.declined",
            Self::Revoked(_) => "invite.revoked",
            Self::InviteeForgotten(_) => "invite.invitee_forgotten",
        };
        (name, version)
    }

    fn account(&self, _: Uuid) -> Option<AccountId> {
        match self {
            Self::Created { account, .. }
            | Self::Bound { account, .. }
            | Self::InviteeResealed { account, .. } => Some(*account),
            Self::Accepted(end) | Self::Declined(end) | Self::Revoked(end) | Self::InviteeForgotten(end) => {
                Some(end.account)
            }
        }
    }

    fn begins_subject(&self, stream: Uuid) -> Option<Subject> {
        match self {
            Self::Created { invitee_key: Some(InviteeKey::Name { id, begins: true }), .. }
            | Self::InviteeResealed { invitee_key: InviteeKey::Name { id, begins: true }, .. } => {
                Some(id.subject())
            }
            Self::Created { invitee_key: None, .. } => Some(Subject { kind: STREAM_TYPE, id: stream }),
            _ => None,
        }
    }

    fn ends_subjects(&self, stream: Uuid) -> Vec<Subject> {
        match self {
            Self::InviteeForgotten(_) | Self::InviteeResealed { .. } => {
                vec![Subject { kind: STREAM_TYPE, id: stream }]
            }
            _ => Vec::new(),
        }
    }
}

impl InviteEvent {
    const fn invitee_key(&self) -> Option<InviteeKey> {
        match self {
            Self::Created { invitee_key, .. } | Self::Bound { invitee_key, .. } => *invitee_key,
            Self::InviteeResealed { invitee_key, .. } => Some(*invitee_key),
            Self::Accepted(end) | Self::Declined(end) | Self::Revoked(end) | Self::InviteeForgotten(end) => {
                end.invitee_key
            }
        }
    }
}

impl SealedFields for InviteEvent {
    fn visit_sealed(&mut self, owner: Subject, visitor: &mut dyn FieldVisitor) -> Result<(), SealError> {
        let subject = self.invitee_key().map_or(owner, InviteeKey::subject);
        match self {
            Self::Created { invitee, .. }
            | Self::Bound { invitee, .. }
            | Self::InviteeResealed { invitee, .. } => visitor.field("invitee", subject, invitee),
            Self::Accepted(end) | Self::Declined(end) | Self::Revoked(end) | Self::InviteeForgotten(end) => {
                visitor.field("invitee", subject, &mut end.invitee)
            }
        }
    }
}
