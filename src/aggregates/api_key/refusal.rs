//! Why a command to an API key is refused.

/// A rule of the API key that forbids the command.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ApiKeyRefusal {
    /// There is no API key with this ID; for a rotation also: it was revoked or has expired.
    #[error("there is no such API key")]
    NotFound,
    /// The ID is taken by another API key, valid or revoked.
    #[error("the identifier is already in use")]
    AlreadyMinted,
}
