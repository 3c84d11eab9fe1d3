//! What can be asked of a tenant.

use super::values::{AccountName, NatsPublicKey, NatsSeed};
use crate::clock::Timestamp;
use crate::ids::UserId;

/// A command to an account. Whether a user exists is decided by whoever dispatches it.
#[derive(Clone, Debug)]
pub enum AccountCommand {
    /// A new tenant.
    Open {
        /// The unique name.
        name: AccountName,
        /// Who owns it.
        owner: UserId,
        /// When.
        at: Timestamp,
    },
    /// A user belongs to the account from now on.
    AddMember {
        /// Who.
        user: UserId,
        /// When.
        at: Timestamp,
    },
    /// A user no longer belongs to the account.
    RemoveMember {
        /// Who.
        user: UserId,
        /// Whether the keys end that the user has minted in it.
        ends_keys: bool,
        /// When.
        at: Timestamp,
    },
    /// A member owns the account from now on.
    TransferOwnership {
        /// The new owner.
        to: UserId,
        /// When.
        at: Timestamp,
    },
    /// The tenant has an account at NATS, with this key to sign its users' credentials.
    SetNatsAccount {
        /// The account's public key, for life.
        public_key: NatsPublicKey,
        /// The seed of the signing key.
        signing_seed: NatsSeed,
        /// When.
        at: Timestamp,
    },
    /// The account's name could be taken for something else, and gives way to another.
    Rename {
        /// The name to take, decided on by whoever knows which names are free.
        to: AccountName,
        /// When.
        at: Timestamp,
    },
    /// The tenant ends, and with it all that belongs to it.
    Close {
        /// When.
        at: Timestamp,
    },
}
