//! The commands to a session.

use crate::aggregates::secret::SecretDigest;
use crate::clock::Timestamp;
use crate::ids::UserId;

/// A command to a session.
#[derive(Clone, Debug)]
pub enum SessionCommand {
    /// Starts a session, when a user signs in with a browser.
    Start(NewSession),
    /// Ends the session.
    End {
        /// When the session ends.
        at: Timestamp,
    },
}

/// The data of a new session.
#[derive(Clone, Debug)]
pub struct NewSession {
    /// The user who signed in.
    pub user: UserId,
    /// The SHA-256 of the session secret.
    pub digest: SecretDigest,
    /// When the session starts.
    pub at: Timestamp,
    /// When the session expires.
    pub expires_at: Timestamp,
}
