//! What can be asked of a key.

use super::values::{KeyHash, KeyPrefix, Label};
use crate::clock::Timestamp;
use crate::ids::{AccountId, UserId};

/// A command to an API key. Who may ask is decided by whoever dispatches it.
#[derive(Clone, Debug)]
pub enum ApiKeyCommand {
    /// A new key.
    Mint(NewApiKey),
    /// Another secret takes the place of the present one.
    Rotate {
        /// The new secret's prefix.
        prefix: KeyPrefix,
        /// The new secret's hash.
        hash: KeyHash,
        /// Until when the old secret is good.
        former_until: Timestamp,
        /// When.
        at: Timestamp,
    },
    /// The key is good for nothing from now on.
    Revoke {
        /// When.
        at: Timestamp,
    },
}

/// Everything about a new key.
#[derive(Clone, Debug)]
pub struct NewApiKey {
    /// The tenant that it acts for.
    pub account: AccountId,
    /// Who makes it.
    pub minter: UserId,
    /// How often keys of the minter have ended with their membership before.
    pub removals: u32,
    /// The secret's prefix.
    pub prefix: KeyPrefix,
    /// The secret's hash.
    pub hash: KeyHash,
    /// What people call it.
    pub label: Label,
    /// When.
    pub at: Timestamp,
    /// From when on it is dead, if ever.
    pub expires_at: Option<Timestamp>,
}
