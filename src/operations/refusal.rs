//! Why an operation is refused: one type, with a stable code for each reason.

use std::fmt;

use crate::aggregates::account::AccountRefusal;
use crate::aggregates::field::Invalid;
use crate::aggregates::user::UserRefusal;

/// The kinds of things that can be missing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Thing {
    /// A person.
    User,
    /// A tenant.
    Account,
    /// A membership.
    Member,
}

impl fmt::Display for Thing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::User => "user",
            Self::Account => "account",
            Self::Member => "member",
        })
    }
}

/// What is true, so that the wish cannot be.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refusal {
    /// A field has the wrong form.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// The mode is neither `github` nor `internal`.
    #[error("mode: `github` or `internal`")]
    InvalidUserMode,
    /// There is no such thing, or the caller may not know of it.
    #[error("there is no such {0}")]
    NotFound(Thing),
    /// Somebody has this username.
    #[error("the username is taken")]
    UsernameTaken,
    /// Somebody has this account name.
    #[error("the account name is taken")]
    AccountNameTaken,
    /// The owner stays until ownership is transferred.
    #[error("the owner of an account cannot be removed; transfer the ownership first")]
    CannotRemoveOwner,
    /// The caller may not do this.
    #[error("this is not yours to do")]
    Forbidden,
    /// The person does not sign in through GitHub.
    #[error("the user does not sign in through GitHub")]
    NotAGithubUser,
    /// The identifier is in use already.
    #[error("the identifier is in use already")]
    IdentifierInUse,
}

impl Refusal {
    /// The stable code of this reason.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Invalid(_) => "invalid",
            Self::InvalidUserMode => "user.invalid_mode",
            Self::NotFound(Thing::User) => "user.not_found",
            Self::NotFound(Thing::Account) => "account.not_found",
            Self::NotFound(Thing::Member) => "member.not_found",
            Self::UsernameTaken => "user.username_taken",
            Self::AccountNameTaken => "account.name_taken",
            Self::CannotRemoveOwner => "account.cannot_remove_owner",
            Self::Forbidden => "forbidden",
            Self::NotAGithubUser => "user.not_a_github_user",
            Self::IdentifierInUse => "identifier_in_use",
        }
    }
}

impl From<UserRefusal> for Refusal {
    fn from(refusal: UserRefusal) -> Self {
        match refusal {
            UserRefusal::NotFound => Self::NotFound(Thing::User),
            UserRefusal::AlreadyRegistered => Self::IdentifierInUse,
            UserRefusal::NotAGithubUser => Self::NotAGithubUser,
        }
    }
}

impl From<AccountRefusal> for Refusal {
    fn from(refusal: AccountRefusal) -> Self {
        match refusal {
            AccountRefusal::NotFound => Self::NotFound(Thing::Account),
            AccountRefusal::AlreadyOpen => Self::IdentifierInUse,
            AccountRefusal::NotAMember => Self::NotFound(Thing::Member),
            AccountRefusal::CannotRemoveOwner => Self::CannotRemoveOwner,
        }
    }
}
