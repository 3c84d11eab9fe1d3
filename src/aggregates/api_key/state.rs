//! What decisions about a key need to know.

use cqrs_es::Aggregate;
use serde::{Deserialize, Serialize};

use super::commands::ApiKeyCommand;
use super::events::ApiKeyEvent;
use super::refusal::ApiKeyRefusal;
use super::values::{KeyHash, KeyPrefix};
use crate::aggregates::handle_by_decide;
use crate::clock::Timestamp;
use crate::ids::{AccountId, UserId};
use crate::sealing::{FieldVisitor, SealError, Sealed, SealedFields, Subject};

/// An API key, as far as the log knows it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub enum ApiKey {
    /// Not minted yet.
    #[default]
    Unknown,
    /// It acts for its account, unless it is dead by the clock.
    Active(Minted),
    /// It is good for nothing.
    Revoked {
        /// The tenant that it acted for.
        account: AccountId,
    },
}

/// A key that was minted and not revoked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Minted {
    /// The tenant that it acts for.
    pub account: AccountId,
    /// Who made it.
    pub minter: UserId,
    /// How often keys of the minter had ended with their membership before it was made.
    pub removals: u32,
    /// From when on it is dead, if ever.
    pub expires_at: Option<Timestamp>,
    /// The present secret's prefix.
    pub prefix: KeyPrefix,
    /// The present secret's hash.
    #[serde(skip)]
    pub hash: Sealed<KeyHash>,
}

impl ApiKey {
    /// The key, if it acts for an account at this time.
    #[must_use]
    pub fn active(&self, at: Timestamp) -> Option<&Minted> {
        match self {
            Self::Active(key) if key.expires_at.is_none_or(|end| at < end) => Some(key),
            Self::Active(_) | Self::Unknown | Self::Revoked { .. } => None,
        }
    }

    /// The tenant that it acts or acted for.
    #[must_use]
    pub const fn account(&self) -> Option<AccountId> {
        match self {
            Self::Active(key) => Some(key.account),
            Self::Revoked { account } => Some(*account),
            Self::Unknown => None,
        }
    }
}

impl Aggregate for ApiKey {
    const TYPE: &'static str = "api_key";
    type Command = ApiKeyCommand;
    type Event = ApiKeyEvent;
    type Error = ApiKeyRefusal;
    type Services = ();

    handle_by_decide!();

    fn apply(&mut self, event: ApiKeyEvent) {
        match (&mut *self, event) {
            (_, ApiKeyEvent::Minted { account, minter, removals, prefix, expires_at, hash, .. }) => {
                *self = Self::Active(Minted { account, minter, removals, expires_at, prefix, hash });
            }
            (_, ApiKeyEvent::Revoked { account, .. }) => *self = Self::Revoked { account },
            (Self::Active(key), ApiKeyEvent::Rotated { prefix, hash, .. }) => {
                key.prefix = prefix;
                key.hash = hash;
            }
            (Self::Unknown | Self::Revoked { .. }, _) => {}
        }
    }
}

impl SealedFields for ApiKey {
    fn visit_sealed(&mut self, _: Subject, visitor: &mut dyn FieldVisitor) -> Result<(), SealError> {
        match self {
            Self::Active(key) => visitor.field("hash", key.account.subject(), &mut key.hash),
            Self::Unknown | Self::Revoked { .. } => Ok(()),
        }
    }
}
