//! What can have happened to an invite.

use cqrs_es::DomainEvent;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::claims;
use crate::aggregates::user::{UserMode, Username};
use crate::aggregates::{ClaimHasher, StoredEvent};
use crate::clock::Timestamp;
use crate::event_log::seal::{FieldVisitor, SealError, Sealed, SealedFields, Subject};
use crate::event_log::unit::ClaimChange;
use crate::ids::{AccountId, UserId};

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
    /// The person it is addressed to is forgotten: the name in it is unreadable from now on.
    InviteeForgotten(InviteEnd),
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
        ("invite.bound", "1"),
        ("invite.accepted", "1"),
        ("invite.declined", "1"),
        ("invite.revoked", "1"),
        ("invite.invitee_forgotten", "1"),
    ];
    const ENDS_SUBJECT: &'static [&'static str] = &["invite.invitee_forgotten"];

    fn kind(&self) -> (&'static str, &'static str) {
        match self {
            Self::Created { .. } => ("invite.created", "1"),
            Self::Bound { .. } => ("invite.bound", "1"),
            Self::Accepted(_) => ("invite.accepted", "1"),
            Self::Declined(_) => ("invite.declined", "1"),
            Self::Revoked(_) => ("invite.revoked", "1"),
            Self::InviteeForgotten(_) => ("invite.invitee_forgotten", "1"),
        }
    }

    fn account(&self, _: Uuid) -> Option<AccountId> {
        match self {
            Self::Created { account, .. } | Self::Bound { account, .. } => Some(*account),
            Self::Accepted(end) | Self::Declined(end) | Self::Revoked(end) | Self::InviteeForgotten(end) => {
                Some(end.account)
            }
        }
    }

    fn claims(&self, stream: Uuid, hasher: &dyn ClaimHasher) -> Vec<ClaimChange> {
        claims::of(self, stream, hasher)
    }

    fn begins_subject(&self) -> bool {
        matches!(self, Self::Created { .. })
    }
}

impl SealedFields for InviteEvent {
    fn visit_sealed(&mut self, owner: Subject, visitor: &mut dyn FieldVisitor) -> Result<(), SealError> {
        match self {
            Self::Created { invitee, .. } | Self::Bound { invitee, .. } => {
                visitor.field("invitee", owner, invitee)
            }
            Self::Accepted(end) | Self::Declined(end) | Self::Revoked(end) | Self::InviteeForgotten(end) => {
                visitor.field("invitee", owner, &mut end.invitee)
            }
        }
    }
}
