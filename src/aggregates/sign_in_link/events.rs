//! The events of a sign-in link.

use cqrs_es::DomainEvent;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::aggregates::secret::SecretDigest;
use crate::aggregates::{ClaimChanges, StoredEvent};
use crate::clock::Timestamp;
use crate::ids::{AccountId, UserId};
use crate::sealing::{FieldVisitor, SealError, Sealed, SealedFields, Subject};

/// An event of a sign-in link. [`Sealed`] fields are stored outside the payload, encrypted under the key of the user.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SignInLinkEvent {
    /// The link was issued; it is valid for one sign-in.
    Issued {
        /// The user who can sign in with the link.
        user: UserId,
        /// When the link was issued.
        at: Timestamp,
        /// When the link expires.
        expires_at: Timestamp,
        /// The SHA-256 of the secret in the link.
        #[serde(skip)]
        digest: Sealed<SecretDigest>,
    },
    /// The user signed in with the link.
    Used {
        /// The user who signed in.
        user: UserId,
        /// When the user signed in.
        at: Timestamp,
    },
}

impl DomainEvent for SignInLinkEvent {
    fn event_type(&self) -> String {
        self.kind().0.to_owned()
    }

    fn event_version(&self) -> String {
        self.kind().1.to_owned()
    }
}

impl StoredEvent for SignInLinkEvent {
    const KINDS: &'static [(&'static str, &'static str)] =
        &[("sign_in_link.issued", "1"), ("sign_in_link.used", "1")];

    fn kind(&self) -> (&'static str, &'static str) {
        match self {
            Self::Issued { .. } => ("sign_in_link.issued", "1"),
            Self::Used { .. } => ("sign_in_link.used", "1"),
        }
    }

    fn account(&self, _: Uuid) -> Option<AccountId> {
        None
    }

    fn begins_subject(&self, _: Uuid) -> Option<Subject> {
        None
    }
}

impl ClaimChanges for SignInLinkEvent {}

impl SealedFields for SignInLinkEvent {
    fn visit_sealed(&mut self, _: Subject, visitor: &mut dyn FieldVisitor) -> Result<(), SealError> {
        match self {
            Self::Issued { user, digest, .. } => visitor.field("digest", user.subject(), digest),
            Self::Used { .. } => Ok(()),
        }
    }
}
