//! Why a command to a sign-in link is refused.

/// What is true of it, so that the command cannot be.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SignInLinkRefusal {
    /// There is no such link, or it was used, or its time is over.
    #[error("there is no such sign-in link")]
    NotFound,
    /// The identifier is in use already.
    #[error("the identifier is in use already")]
    IdentifierInUse,
}
