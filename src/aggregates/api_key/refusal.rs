//! Why a command to a key is refused.

/// What is true of the key, so that the command cannot be.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ApiKeyRefusal {
    /// There is no such key, or it is good for nothing.
    #[error("there is no such API key")]
    NotFound,
    /// The identifier belongs to a key already.
    #[error("the identifier is in use already")]
    AlreadyMinted,
}
