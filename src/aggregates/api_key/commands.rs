//! The commands to an API key.

use super::values::{KeyHash, KeyPrefix, Label};
use crate::clock::Timestamp;
use crate::ids::{AccountId, UserId};

/// A command to an API key. The operation that sends it authorizes the caller.
#[derive(Clone, Debug)]
pub enum ApiKeyCommand {
    /// Mints a new API key.
    Mint(NewApiKey),
    /// Replaces the secret; the old secret stays valid for a while.
    Rotate {
        /// The prefix of the new secret.
        prefix: KeyPrefix,
        /// The hash of the new secret.
        hash: KeyHash,
        /// When the old secret stops being valid.
        former_until: Timestamp,
        /// When the secret is replaced.
        at: Timestamp,
    },
    /// Revokes the key.
    Revoke {
        /// When the key is revoked.
        at: Timestamp,
    },
}

/// The data of a new API key.
#[derive(Clone, Debug)]
pub struct NewApiKey {
    /// The account that the key acts for.
    pub account: AccountId,
    /// The user who mints the key.
    pub minter: UserId,
    /// The minter's removal count in the account (see [`Open::removals`](crate::aggregates::account::Open::removals));
    /// the key ends when that count rises.
    pub removals: u32,
    /// The prefix of the secret.
    pub prefix: KeyPrefix,
    /// The hash of the secret.
    pub hash: KeyHash,
    /// The name that users give the key.
    pub label: Label,
    /// When the key is minted.
    pub at: Timestamp,
    /// When the key expires; none if it never does.
    pub expires_at: Option<Timestamp>,
}
