//! Why a command to a user is refused.

/// What is true of the user, so that the command cannot be.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum UserRefusal {
    /// There is no such user.
    #[error("there is no such user")]
    NotFound,
    /// The identifier belongs to a user already.
    #[error("the user is registered already")]
    AlreadyRegistered,
    /// The user does not sign in through GitHub.
    #[error("the user does not sign in through GitHub")]
    NotAGithubUser,
}
