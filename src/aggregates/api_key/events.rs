//! The events of an API key.

use cqrs_es::DomainEvent;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::values::{KeyHash, KeyPrefix, Label};
use crate::aggregates::{ClaimChanges, StoredEvent};
use crate::clock::Timestamp;
use crate::ids::{AccountId, UserId};
use crate::sealing::{FieldVisitor, SealError, Sealed, SealedFields, Subject};

/// An event of an API key. [`Sealed`] fields are stored outside the payload, encrypted under the key of the account.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ApiKeyEvent {
    /// The API key was minted.
    Minted {
        /// The account that the key acts for.
        account: AccountId,
        /// The user who minted the key.
        minter: UserId,
        /// Version 2: the minter's removal count in the account when the key was minted. The key ends when that count
        /// rises, that is when the minter is removed together with their keys.
        #[serde(default, skip_serializing_if = "is_zero")]
        removals: u32,
        /// The prefix of the secret.
        prefix: KeyPrefix,
        /// When the key was minted.
        at: Timestamp,
        /// When the key expires; none if it never does.
        expires_at: Option<Timestamp>,
        /// The hash of the secret.
        #[serde(skip)]
        hash: Sealed<KeyHash>,
        /// The name that users give the key.
        #[serde(skip)]
        label: Sealed<Label>,
    },
    /// The secret was replaced.
    Rotated {
        /// The account that the key acts for.
        account: AccountId,
        /// The prefix of the new secret.
        prefix: KeyPrefix,
        /// The prefix of the old secret.
        former_prefix: KeyPrefix,
        /// When the old secret stops being valid.
        former_until: Timestamp,
        /// When the secret was replaced.
        at: Timestamp,
        /// The hash of the new secret.
        #[serde(skip)]
        hash: Sealed<KeyHash>,
        /// The hash of the old secret, which still verifies until `former_until`.
        #[serde(skip)]
        former_hash: Sealed<KeyHash>,
    },
    /// The key was revoked.
    Revoked {
        /// The account that the key acted for.
        account: AccountId,
        /// When the key was revoked.
        at: Timestamp,
    },
}

/// Version 1 has no removal count, which means zero; zero is left out so that such events stay version 1.
#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
const fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl DomainEvent for ApiKeyEvent {
    fn event_type(&self) -> String {
        self.kind().0.to_owned()
    }

    fn event_version(&self) -> String {
        self.kind().1.to_owned()
    }
}

impl StoredEvent for ApiKeyEvent {
    const KINDS: &'static [(&'static str, &'static str)] = &[
        ("api_key.minted", "1"),
        ("api_key.minted", "2"),
        ("api_key.rotated", "1"),
        ("api_key.revoked", "1"),
    ];

    fn kind(&self) -> (&'static str, &'static str) {
        match self {
            Self::Minted { removals: 0, .. } => ("api_key.minted", "1"),
            Self::Minted { .. } => ("api_key.minted", "2"),
            Self::Rotated { .. } => ("api_key.rotated", "1"),
            Self::Revoked { .. } => ("api_key.revoked", "1"),
        }
    }

    fn account(&self, _: Uuid) -> Option<AccountId> {
        match self {
            Self::Minted { account, .. } | Self::Rotated { account, .. } | Self::Revoked { account, .. } => {
                Some(*account)
            }
        }
    }

    fn begins_subject(&self, _: Uuid) -> Option<Subject> {
        None
    }
}

impl ClaimChanges for ApiKeyEvent {}

impl SealedFields for ApiKeyEvent {
    fn visit_sealed(&mut self, _: Subject, visitor: &mut dyn FieldVisitor) -> Result<(), SealError> {
        match self {
            Self::Minted { account, hash, label, .. } => {
                let owner = account.subject();
                visitor.field("hash", owner, hash)?;
                visitor.field("label", owner, label)
            }
            Self::Rotated { account, hash, former_hash, .. } => {
                let owner = account.subject();
                visitor.field("hash", owner, hash)?;
                visitor.field("former_hash", owner, former_hash)
            }
            Self::Revoked { .. } => Ok(()),
        }
    }
}
