//! Why a command to a user is refused.

use crate::aggregates::sentences::{self, Resource};

/// A rule of the user that forbids the command.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum UserRefusal {
    /// There is no user with this ID, or the user has been forgotten.
    #[error("{}", sentences::no_such(Resource::User))]
    NotFound,
    /// The ID is taken by a registered or forgotten user.
    #[error("{}", sentences::IDENTIFIER_IN_USE)]
    AlreadyRegistered,
    /// The user is not in mode [`Github`](super::UserMode::Github), so there is no GitHub profile to refresh.
    #[error("{}", sentences::NOT_A_GITHUB_USER)]
    NotAGithubUser,
}
