//! The commands to an account.

use super::values::{AccountName, NatsPublicKey, NatsSeed};
use crate::clock::Timestamp;
use crate::ids::UserId;

/// A command to an account. The operation that sends it checks that the users exist.
#[derive(Clone, Debug)]
pub enum AccountCommand {
    /// Opens a new account.
    Open {
        /// The account name, unique without ASCII case.
        name: AccountName,
        /// The user who owns the account.
        owner: UserId,
        /// When the account opens.
        at: Timestamp,
    },
    /// Adds a member.
    AddMember {
        /// The user to add.
        user: UserId,
        /// When the user becomes a member.
        at: Timestamp,
    },
    /// Removes a member. The owner cannot be removed.
    RemoveMember {
        /// The member to remove.
        user: UserId,
        /// Whether the API keys that the user minted in the account end with the membership.
        ends_keys: bool,
        /// When the membership ends.
        at: Timestamp,
    },
    /// Makes a member the owner; the old owner becomes a member.
    TransferOwnership {
        /// The new owner, who must be a member.
        to: UserId,
        /// When the ownership passes.
        at: Timestamp,
    },
    /// Sets the account's public key at NATS and the seed that signs credentials of its NATS users. A repeated command
    /// may replace the seed, but not the public key.
    SetNatsAccount {
        /// The public key of the NATS account, which never changes.
        public_key: NatsPublicKey,
        /// The seed of the signing key.
        signing_seed: NatsSeed,
        /// When the key and seed are set.
        at: Timestamp,
    },
    /// Replaces an account name that is no longer valid because it reads as an ID, `me` or a path step.
    Rename {
        /// The new name. The operation must have checked that it is free.
        to: AccountName,
        /// When the account is renamed.
        at: Timestamp,
    },
    /// Closes the account and ends everything in it.
    Close {
        /// When the account closes.
        at: Timestamp,
    },
}
