//! The state of an API key that decisions need.

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

/// An API key, folded from the events of the stream.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub enum ApiKey {
    /// The stream has no events.
    #[default]
    Unknown,
    /// The key was minted and not revoked. It may have expired.
    Active(Minted),
    /// The key was revoked.
    Revoked {
        /// The account that the key acted for.
        account: AccountId,
    },
}

/// An API key that was minted and not revoked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Minted {
    /// The account that the key acts for.
    pub account: AccountId,
    /// The user who minted the key.
    pub minter: UserId,
    /// The minter's removal count in the account when the key was minted. The key has ended if the present count is
    /// higher.
    pub removals: u32,
    /// When the key expires; none if it never does.
    pub expires_at: Option<Timestamp>,
    /// The prefix of the current secret.
    pub prefix: KeyPrefix,
    /// The hash of the current secret.
    #[serde(skip)]
    pub hash: Sealed<KeyHash>,
}

impl ApiKey {
    /// The key, unless it is revoked or has expired at this time.
    #[must_use]
    pub fn active(&self, at: Timestamp) -> Option<&Minted> {
        match self {
            Self::Active(key) if key.expires_at.is_none_or(|end| at < end) => Some(key),
            Self::Active(_) | Self::Unknown | Self::Revoked { .. } => None,
        }
    }

    /// The account that the key acts or acted for; none if unknown.
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
