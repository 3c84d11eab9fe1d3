//! The commands to a user.

use super::events::UserMode;
use super::values::{AvatarUrl, Email, GithubId, GithubLogin, Username};
use crate::clock::Timestamp;
use crate::ids::NameKeyId;

/// A command to a user.
#[derive(Clone, Debug)]
pub enum UserCommand {
    /// Registers a new user.
    Register(NewUser),
    /// Takes over the current GitHub profile of a registered user.
    RefreshProfile {
        /// The current profile at GitHub.
        profile: Profile,
        /// The username to take. The operation must have checked that it is free; none to keep the present one.
        rename_to: Option<Username>,
        /// When GitHub returned the profile.
        at: Timestamp,
    },
    /// Replaces a username that is no longer valid because it reads as an ID, `me` or a path step.
    Rename {
        /// The new username. The operation must have checked that it is free.
        to: Username,
        /// When the user is renamed.
        at: Timestamp,
    },
    /// Gives the user the name key of the name that they have just taken. What earlier invites say of that name is
    /// sealed under it.
    TakeInvitedName {
        /// The name key of that username.
        key: NameKeyId,
        /// The username that the user has taken.
        name: Username,
        /// When the user took the name.
        at: Timestamp,
    },
    /// Makes the user an operator.
    GrantOperator {
        /// When the user becomes an operator.
        at: Timestamp,
    },
    /// Removes the operator flag.
    RevokeOperator {
        /// When the user stops being an operator.
        at: Timestamp,
    },
    /// Forgets the user: releases the names and makes all that the log says of the user unreadable.
    Forget {
        /// When the user is forgotten.
        at: Timestamp,
    },
}

/// The data of a new user.
#[derive(Clone, Debug)]
pub struct NewUser {
    /// The username, unique without ASCII case.
    pub username: Username,
    /// The e-mail address, if known. Nothing is sent to it.
    pub email: Option<Email>,
    /// How the user signs in.
    pub mode: UserMode,
    /// The GitHub ID and login; none unless the mode is [`UserMode::Github`].
    pub github: Option<(GithubId, GithubLogin)>,
    /// The URL of the user's picture, if there is one.
    pub avatar_url: Option<AvatarUrl>,
    /// When the user registers.
    pub at: Timestamp,
}

/// What GitHub reports about a user at each sign-in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// The GitHub login, which the user can change there.
    pub login: GithubLogin,
    /// The public e-mail address at GitHub, if there is one.
    pub email: Option<Email>,
    /// The URL of the picture at GitHub, if there is one.
    pub avatar_url: Option<AvatarUrl>,
}
