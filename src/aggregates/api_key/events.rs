//! What can have happened to a key.

use cqrs_es::DomainEvent;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::values::{KeyHash, KeyPrefix, Label};
use crate::aggregates::{ClaimChanges, StoredEvent};
use crate::clock::Timestamp;
use crate::ids::{AccountId, UserId};
use crate::sealing::{FieldVisitor, SealError, Sealed, SealedFields, Subject};

/// An event of an API key. Fields of type [`Sealed`] are not part of the payload; they are the account's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ApiKeyEvent {
    /// The key is good from now on.
    Minted {
        /// The tenant that it acts for.
        account: AccountId,
        /// Who made it.
        minter: UserId,
        /// Version 2: how often keys of the minter had ended with their membership before; such an ending later ends this
        /// one too.
        #[serde(default, skip_serializing_if = "is_zero")]
        removals: u32,
        /// The secret's prefix.
        prefix: KeyPrefix,
        /// When.
        at: Timestamp,
        /// From when on it is dead, if ever.
        expires_at: Option<Timestamp>,
        /// The secret's hash.
        #[serde(skip)]
        hash: Sealed<KeyHash>,
        /// What people call it.
        #[serde(skip)]
        label: Sealed<Label>,
    },
    /// Another secret has taken the place of the former one.
    Rotated {
        /// The tenant that it acts for.
        account: AccountId,
        /// The new secret's prefix.
        prefix: KeyPrefix,
        /// The former secret's prefix.
        former_prefix: KeyPrefix,
        /// Until when the former secret is good.
        former_until: Timestamp,
        /// When.
        at: Timestamp,
        /// The new secret's hash.
        #[serde(skip)]
        hash: Sealed<KeyHash>,
        /// The former secret's hash.
        #[serde(skip)]
        former_hash: Sealed<KeyHash>,
    },
    /// The key is good for nothing from now on.
    Revoked {
        /// The tenant that it acted for.
        account: AccountId,
        /// When.
        at: Timestamp,
    },
}

/// Version 1 has no number, and means none.
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
