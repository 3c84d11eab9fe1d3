//! What can have happened to a sign-in link.

use cqrs_es::DomainEvent;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::aggregates::secret::SecretDigest;
use crate::aggregates::{ClaimChanges, StoredEvent};
use crate::clock::Timestamp;
use crate::ids::{AccountId, UserId};
use crate::sealing::{FieldVisitor, SealError, Sealed, SealedFields, Subject};

/// An event of a sign-in link. Fields of type [`Sealed`] are not part of the payload; they are the user's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SignInLinkEvent {
    /// The person may sign in by it, once.
    Issued {
        /// Who.
        user: UserId,
        /// When.
        at: Timestamp,
        /// From when on it is dead.
        expires_at: Timestamp,
        /// What is kept of the secret.
        #[serde(skip)]
        digest: Sealed<SecretDigest>,
    },
    /// The person has signed in by it.
    Used {
        /// Who.
        user: UserId,
        /// When.
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
