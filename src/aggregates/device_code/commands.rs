//! The commands to a device code.

use super::values::{ClientName, UserCode};
use crate::aggregates::secret::SecretDigest;
use crate::clock::Timestamp;
use crate::ids::UserId;

/// A command to a device code.
#[derive(Clone, Debug)]
pub enum DeviceCodeCommand {
    /// Creates a device code with its user code.
    Create(DeviceCodeDetails),
    /// A user allows the device to act for them.
    Approve {
        /// The user who approves.
        user: UserId,
        /// When the user approves.
        at: Timestamp,
    },
    /// A user denies the request, or withdraws their own approval.
    Deny {
        /// The user who denies.
        user: UserId,
        /// When the user denies.
        at: Timestamp,
    },
    /// The device redeems the approved code.
    Consume {
        /// When the device redeems the code.
        at: Timestamp,
    },
}

/// The data of a new device code.
#[derive(Clone, Debug)]
pub struct DeviceCodeDetails {
    /// The SHA-256 of the device code.
    pub digest: SecretDigest,
    /// The user code, for the user to type.
    pub user_code: UserCode,
    /// The name that the device gives itself.
    pub client_name: ClientName,
    /// When the codes are created.
    pub at: Timestamp,
    /// When both codes expire.
    pub expires_at: Timestamp,
}
