//! What can be asked of a device code.

use super::values::{ClientName, UserCode};
use crate::aggregates::secret::SecretDigest;
use crate::clock::Timestamp;
use crate::ids::UserId;

/// A command to a device code.
#[derive(Clone, Debug)]
pub enum DeviceCodeCommand {
    /// A new pair of codes.
    Create(DeviceCodeDetails),
    /// A person lets the device act for them.
    Approve {
        /// Who.
        user: UserId,
        /// When.
        at: Timestamp,
    },
    /// A person does not.
    Deny {
        /// Who.
        user: UserId,
        /// When.
        at: Timestamp,
    },
    /// The device takes what was approved.
    Consume {
        /// When.
        at: Timestamp,
    },
}

/// Everything about a new device code.
#[derive(Clone, Debug)]
pub struct DeviceCodeDetails {
    /// What is kept of the device code.
    pub digest: SecretDigest,
    /// The code to type.
    pub user_code: UserCode,
    /// What the device calls itself.
    pub client_name: ClientName,
    /// When.
    pub at: Timestamp,
    /// From when on it is dead.
    pub expires_at: Timestamp,
}
