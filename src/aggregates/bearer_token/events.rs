//! What can have happened to a bearer token.

use cqrs_es::DomainEvent;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::aggregates::api_key::KeyPrefix;
use crate::aggregates::secret::SecretDigest;
use crate::aggregates::{ClaimChanges, StoredEvent};
use crate::clock::Timestamp;
use crate::ids::{AccountId, UserId};
use crate::sealing::{FieldVisitor, SealError, Sealed, SealedFields, Subject};

/// An event of a bearer token. Fields of type [`Sealed`] are not part of the payload; they are the user's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BearerTokenEvent {
    /// It is good from now on.
    Issued {
        /// Whose it is.
        user: UserId,
        /// Its public first characters.
        prefix: KeyPrefix,
        /// When.
        at: Timestamp,
        /// From when on it is dead.
        expires_at: Timestamp,
        /// What is kept of the secret.
        #[serde(skip)]
        digest: Sealed<SecretDigest>,
    },
    /// It is good for nothing from now on.
    Revoked {
        /// Whose it was.
        user: UserId,
        /// When.
        at: Timestamp,
    },
}

impl DomainEvent for BearerTokenEvent {
    fn event_type(&self) -> String {
        self.kind().0.to_owned()
    }

    fn event_version(&self) -> String {
        self.kind().1.to_owned()
    }
}

impl StoredEvent for BearerTokenEvent {
    const KINDS: &'static [(&'static str, &'static str)] =
        &[("bearer_token.issued", "1"), ("bearer_token.revoked", "1")];

    fn kind(&self) -> (&'static str, &'static str) {
        match self {
            Self::Issued { .. } => ("bearer_token.issued", "1"),
            Self::Revoked { .. } => ("bearer_token.revoked", "1"),
        }
    }

    fn account(&self, _: Uuid) -> Option<AccountId> {
        None
    }

    fn begins_subject(&self, _: Uuid) -> Option<Subject> {
        None
    }
}

impl ClaimChanges for BearerTokenEvent {}

impl SealedFields for BearerTokenEvent {
    fn visit_sealed(&mut self, _: Subject, visitor: &mut dyn FieldVisitor) -> Result<(), SealError> {
        match self {
            Self::Issued { user, digest, .. } => visitor.field("digest", user.subject(), digest),
            Self::Revoked { .. } => Ok(()),
        }
    }
}
