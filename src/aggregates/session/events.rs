//! The events of a session.

use cqrs_es::DomainEvent;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::aggregates::secret::SecretDigest;
use crate::aggregates::{ClaimChanges, StoredEvent};
use crate::clock::Timestamp;
use crate::ids::{AccountId, UserId};
use crate::sealing::{FieldVisitor, SealError, Sealed, SealedFields, Subject};

/// An event of a session. [`Sealed`] fields are stored outside the payload, encrypted under the key of the user.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SessionEvent {
    /// The session started.
    Started {
        /// The user who signed in.
        user: UserId,
        /// When the session started.
        at: Timestamp,
        /// When the session expires.
        expires_at: Timestamp,
        /// The SHA-256 of the session secret.
        #[serde(skip)]
        digest: Sealed<SecretDigest>,
    },
    /// The session was ended.
    Ended {
        /// The user who was signed in.
        user: UserId,
        /// When the session ended.
        at: Timestamp,
    },
}

impl DomainEvent for SessionEvent {
    fn event_type(&self) -> String {
        self.kind().0.to_owned()
    }

    fn event_version(&self) -> String {
        self.kind().1.to_owned()
    }
}

impl StoredEvent for SessionEvent {
    const KINDS: &'static [(&'static str, &'static str)] =
        &[("session.started", "1"), ("session.ended", "1")];

    fn kind(&self) -> (&'static str, &'static str) {
        match self {
            Self::Started { .. } => ("session.started", "1"),
            Self::Ended { .. } => ("session.ended", "1"),
        }
    }

    fn account(&self, _: Uuid) -> Option<AccountId> {
        None
    }

    fn begins_subject(&self, _: Uuid) -> Option<Subject> {
        None
    }
}

impl ClaimChanges for SessionEvent {}

impl SealedFields for SessionEvent {
    fn visit_sealed(&mut self, _: Subject, visitor: &mut dyn FieldVisitor) -> Result<(), SealError> {
        match self {
            Self::Started { user, digest, .. } => visitor.field("digest", user.subject(), digest),
            Self::Ended { .. } => Ok(()),
        }
    }
}
