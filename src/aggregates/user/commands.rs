//! What can be asked of a person's record.

use super::events::UserMode;
use super::values::{AvatarUrl, Email, GithubId, GithubLogin, Username};
use crate::clock::Timestamp;
use crate::ids::NameKeyId;

/// A command to a user.
#[derive(Clone, Debug)]
pub enum UserCommand {
    /// A new person.
    Register(NewUser),
    /// What GitHub says of a known person.
    RefreshProfile {
        /// The profile at GitHub.
        profile: Profile,
        /// The username to take, decided on by whoever knows which names are free.
        rename_to: Option<Username>,
        /// When.
        at: Timestamp,
    },
    /// The person's name could be taken for something else, and gives way to another.
    Rename {
        /// The name to take, decided on by whoever knows which names are free.
        to: Username,
        /// When.
        at: Timestamp,
    },
    /// The person has just taken a name that others have invited before: what they said of it is the person's now.
    TakeInvitedName {
        /// The key that seals it.
        key: NameKeyId,
        /// The name.
        name: Username,
        /// When.
        at: Timestamp,
    },
    /// The person runs the instance from now on.
    GrantOperator {
        /// When.
        at: Timestamp,
    },
    /// The person no longer runs the instance.
    RevokeOperator {
        /// When.
        at: Timestamp,
    },
    /// Whatever the log says of the person becomes unreadable, and their names are free.
    Forget {
        /// When.
        at: Timestamp,
    },
}

/// Everything about a new person.
#[derive(Clone, Debug)]
pub struct NewUser {
    /// The unique name.
    pub username: Username,
    /// Where the person can be reached.
    pub email: Option<Email>,
    /// How the person signs in.
    pub mode: UserMode,
    /// The identity at GitHub, in that mode.
    pub github: Option<(GithubId, GithubLogin)>,
    /// The person's picture.
    pub avatar_url: Option<AvatarUrl>,
    /// When.
    pub at: Timestamp,
}

/// What GitHub says of a person at each sign-in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// The login, which can change.
    pub login: GithubLogin,
    /// The public e-mail, if there is one.
    pub email: Option<Email>,
    /// The picture, if there is one.
    pub avatar_url: Option<AvatarUrl>,
}
