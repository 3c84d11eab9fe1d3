//! Why a command to a sign-in link is refused.

/// A rule of the sign-in link that forbids the command.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SignInLinkRefusal {
    /// There is no sign-in link with this ID, or it was used, or it has expired.
    #[error("there is no such sign-in link")]
    NotFound,
    /// The ID is taken by another sign-in link.
    #[error("the identifier is already in use")]
    IdentifierInUse,
}
