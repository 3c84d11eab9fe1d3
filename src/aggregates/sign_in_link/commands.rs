//! The commands to a sign-in link.

use crate::aggregates::secret::SecretDigest;
use crate::clock::Timestamp;
use crate::ids::UserId;

/// A command to a sign-in link.
#[derive(Clone, Debug)]
pub enum SignInLinkCommand {
    /// Issues a link with which a user can sign in once.
    Issue(NewSignInLink),
    /// The user signs in with the link.
    Use {
        /// When the user signs in.
        at: Timestamp,
    },
}

/// The data of a new sign-in link.
#[derive(Clone, Debug)]
pub struct NewSignInLink {
    /// The user who can sign in with the link.
    pub user: UserId,
    /// The SHA-256 of the secret in the link.
    pub digest: SecretDigest,
    /// When the link is issued.
    pub at: Timestamp,
    /// When the link expires.
    pub expires_at: Timestamp,
}
