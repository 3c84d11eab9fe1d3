//! The events of an invite.

use cqrs_es::DomainEvent;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::aggregates::StoredEvent;
use crate::aggregates::user::{UserMode, Username};
use crate::clock::Timestamp;
use crate::ids::{AccountId, NameKeyId, UserId};
use crate::sealing::{FieldVisitor, SealError, Sealed, SealedFields, Subject};

/// The stream type of invites.
pub const STREAM_TYPE: &str = "invite";

/// An event of an invite. [`Sealed`] fields are stored encrypted, outside the payload.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum InviteEvent {
    /// The invite was created.
    Created {
        /// The account that the invite is to.
        account: AccountId,
        /// The user who sent the invite.
        inviter: UserId,
        /// The user with the invited name; none if the name was not registered.
        bound: Option<UserId>,
        /// How an invitee who was not registered must sign in.
        mode: UserMode,
        /// When the invite was created.
        at: Timestamp,
        /// When the invite expires.
        expires_at: Timestamp,
        /// Version 2: the key that seals the name. None in version 1, where every invite had a data key of its own.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        invitee_key: Option<InviteeKey>,
        /// The invited username, as given.
        #[serde(skip)]
        invitee: Sealed<Username>,
    },
    /// A user took the invited name. The invite stays theirs even if their username changes.
    Bound {
        /// The account that the invite is to.
        account: AccountId,
        /// The user who took the name.
        user: UserId,
        /// When the invite was bound.
        at: Timestamp,
        /// When the invite expires.
        expires_at: Timestamp,
        /// Version 2: the key that seals the name. None in version 1.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        invitee_key: Option<InviteeKey>,
        /// The invited username, as given.
        #[serde(skip)]
        invitee: Sealed<Username>,
    },
    /// The invitee accepted.
    Accepted(InviteEnd),
    /// The invitee declined.
    Declined(InviteEnd),
    /// The account revoked the invite.
    Revoked(InviteEnd),
    /// The invitee was forgotten, and the name in the invite is unreadable. Only for version 1: a name that is sealed
    /// under the user's own key needs no event.
    InviteeForgotten(InviteEnd),
    /// The name in an invite of version 1 was sealed under the key of the user or the name, and becomes unreadable with
    /// that key. If a user has the name, the invite is bound to that user, pending or not.
    InviteeResealed {
        /// The account that the invite is to.
        account: AccountId,
        /// The user who has the name; none if it is not registered.
        user: Option<UserId>,
        /// When the name was resealed.
        at: Timestamp,
        /// When the invite expires, if it was pending; none if it was decided or had expired.
        pending_until: Option<Timestamp>,
        /// Whether the invite was bound to a user before.
        was_bound: bool,
        /// The key that seals the name.
        invitee_key: InviteeKey,
        /// The invited username, as given.
        #[serde(skip)]
        invitee: Sealed<Username>,
    },
}

/// The key that seals the name in an invite.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum InviteeKey {
    /// The key of the invitee, who was registered.
    User(UserId),
    /// The name key of a name that was not registered.
    Name {
        /// The ID of the name key.
        id: NameKeyId,
        /// Whether the name key is created with this event.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        begins: bool,
    },
}

impl InviteeKey {
    /// The subject that the data key belongs to.
    #[must_use]
    pub fn subject(self) -> Subject {
        match self {
            Self::User(user) => user.subject(),
            Self::Name { id, .. } => id.subject(),
        }
    }

    /// The same key for use in a later event, which does not create it.
    #[must_use]
    pub const fn known(self) -> Self {
        match self {
            Self::Name { id, .. } => Self::Name { id, begins: false },
            Self::User(_) => self,
        }
    }
}

/// The end of an invite: accepted, declined, revoked, or the invitee forgotten.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct InviteEnd {
    /// The account that the invite is to.
    pub account: AccountId,
    /// The invitee; for a revocation, the user whom the invite was bound to. None if there was none.
    pub user: Option<UserId>,
    /// When the invite ended.
    pub at: Timestamp,
    /// Whether the invite was pending until then.
    pub was_pending: bool,
    /// Whether the invite was bound to a user, not only to a name.
    pub was_bound: bool,
    /// Version 2: the key that seals the name. None in version 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invitee_key: Option<InviteeKey>,
    /// The invited username, as given.
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
            // The invite's own key, which only invites of version 1 have.
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
        // An event of version 1 names no key: it is sealed under the invite's own.
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
