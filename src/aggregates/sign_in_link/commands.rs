//! What can be asked of a sign-in link.

use crate::aggregates::secret::SecretDigest;
use crate::clock::Timestamp;
use crate::ids::UserId;

/// A command to a sign-in link.
#[derive(Clone, Debug)]
pub enum SignInLinkCommand {
    /// A person may sign in by it, once.
    Issue(NewSignInLink),
    /// The person signs in by it.
    Use {
        /// When.
        at: Timestamp,
    },
}

/// Everything about a sign-in link that is new.
#[derive(Clone, Debug)]
pub struct NewSignInLink {
    /// Who signs in by it.
    pub user: UserId,
    /// What is kept of the secret.
    pub digest: SecretDigest,
    /// When.
    pub at: Timestamp,
    /// From when on it is dead.
    pub expires_at: Timestamp,
}
