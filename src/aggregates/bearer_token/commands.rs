//! What can be asked of a bearer token.

use crate::aggregates::api_key::KeyPrefix;
use crate::aggregates::secret::SecretDigest;
use crate::clock::Timestamp;
use crate::ids::UserId;

/// A command to a bearer token.
#[derive(Clone, Debug)]
pub enum BearerTokenCommand {
    /// A new token.
    Issue(NewBearerToken),
    /// It is good for nothing from now on.
    Revoke {
        /// When.
        at: Timestamp,
    },
}

/// Everything about a bearer token that is new.
#[derive(Clone, Debug)]
pub struct NewBearerToken {
    /// Whose it is.
    pub user: UserId,
    /// Its public first characters.
    pub prefix: KeyPrefix,
    /// What is kept of the secret.
    pub digest: SecretDigest,
    /// When.
    pub at: Timestamp,
    /// From when on it is dead.
    pub expires_at: Timestamp,
}
