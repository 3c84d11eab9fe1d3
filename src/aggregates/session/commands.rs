//! What can be asked of a session.

use crate::aggregates::secret::SecretDigest;
use crate::clock::Timestamp;
use crate::ids::UserId;

/// A command to a session.
#[derive(Clone, Debug)]
pub enum SessionCommand {
    /// A browser signs in.
    Start(NewSession),
    /// It is good for nothing from now on.
    End {
        /// When.
        at: Timestamp,
    },
}

/// Everything about a session that is new.
#[derive(Clone, Debug)]
pub struct NewSession {
    /// Whose it is.
    pub user: UserId,
    /// What is kept of the secret.
    pub digest: SecretDigest,
    /// When.
    pub at: Timestamp,
    /// From when on it is dead.
    pub expires_at: Timestamp,
}
