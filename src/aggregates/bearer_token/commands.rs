//! The commands to a bearer token.

use crate::aggregates::api_key::KeyPrefix;
use crate::aggregates::secret::SecretDigest;
use crate::clock::Timestamp;
use crate::ids::UserId;

/// A command to a bearer token.
#[derive(Clone, Debug)]
pub enum BearerTokenCommand {
    /// Issues a new token.
    Issue(NewBearerToken),
    /// Revokes the token.
    Revoke {
        /// When the token is revoked.
        at: Timestamp,
    },
}

/// The data of a new bearer token.
#[derive(Clone, Debug)]
pub struct NewBearerToken {
    /// The user whom the token acts for.
    pub user: UserId,
    /// The public first characters of the token.
    pub prefix: KeyPrefix,
    /// The SHA-256 of the token.
    pub digest: SecretDigest,
    /// When the token is issued.
    pub at: Timestamp,
    /// When the token expires.
    pub expires_at: Timestamp,
}
