//! Why a command to a user is refused.

/// A rule of the user that forbids the command.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum UserRefusal {
    /// There is no user with this ID, or the user has been forgotten.
    #[error("there is no such user")]
    NotFound,
    /// The ID is taken by a registered or forgotten user.
    #[error("the identifier is already in use")]
    AlreadyRegistered,
    /// The user is not in mode [`Github`](super::UserMode::Github), so there is no GitHub profile to refresh.
    #[error("the user does not sign in through GitHub")]
    NotAGithubUser,
}
