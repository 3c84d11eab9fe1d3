//! The events of a bearer token.

use cqrs_es::DomainEvent;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::aggregates::api_key::KeyPrefix;
use crate::aggregates::secret::SecretDigest;
use crate::aggregates::{ClaimChanges, StoredEvent};
use crate::clock::Timestamp;
use crate::ids::{AccountId, UserId};
use crate::sealing::{FieldVisitor, SealError, Sealed, SealedFields, Subject};

/// An event of a bearer token. [`Sealed`] fields are stored outside the payload, encrypted under the key of the user.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum BearerTokenEvent {
    /// The token was issued.
    Issued {
        /// The user whom the token acts for.
        user: UserId,
        /// The public first characters of the token.
        prefix: KeyPrefix,
        /// When the token was issued.
        at: Timestamp,
        /// When the token expires.
        expires_at: Timestamp,
        /// The SHA-256 of the token.
        #[serde(skip)]
        digest: Sealed<SecretDigest>,
    },
    /// The token was revoked.
    Revoked {
        /// The user whom the token acted for.
        user: UserId,
        /// When the token was revoked.
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
