//! Why a command to a bearer token is refused.

/// A rule of the bearer token that forbids the command.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BearerTokenRefusal {
    /// There is no bearer token with this ID.
    #[error("there is no such bearer token")]
    NotFound,
    /// The ID is taken by another bearer token.
    #[error("the identifier is already in use")]
    IdentifierInUse,
}
