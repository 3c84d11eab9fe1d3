//! The refusals of all operations: typed business errors with stable codes.

use std::convert::Infallible;

use crate::aggregates::account::AccountRefusal;
use crate::aggregates::api_key::ApiKeyRefusal;
use crate::aggregates::bearer_token::BearerTokenRefusal;
use crate::aggregates::device_code::DeviceCodeRefusal;
use crate::aggregates::field::Invalid;
use crate::aggregates::invite::InviteRefusal;
use crate::aggregates::sentences;
pub use crate::aggregates::sentences::Resource;
use crate::aggregates::session::SessionRefusal;
use crate::aggregates::sign_in_link::SignInLinkRefusal;
use crate::aggregates::source::SourceRefusal;
use crate::aggregates::user::UserRefusal;

/// A limit that a command would exceed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LimitReached {
    /// What is counted, as a plural that follows a number, for example `sources per account`.
    pub what: &'static str,
    /// The highest count allowed.
    pub most: u32,
}

/// Why an operation was refused. Each variant names the violated rule and has a stable code.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refusal {
    /// A field has the wrong form.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// The mode is neither `github` nor `internal`.
    #[error("mode: `github` or `internal`")]
    InvalidUserMode,
    /// The resource does not exist, or the caller is not allowed to know that it exists.
    #[error("{}", sentences::no_such(*.0))]
    NotFound(Resource),
    /// Another user has this username.
    #[error("the username is taken; choose another")]
    UsernameTaken,
    /// Another open account has this name.
    #[error("the account name is taken; choose another")]
    AccountNameTaken,
    /// An account always has an owner, so the owner cannot be removed or leave.
    #[error("{}", sentences::CANNOT_REMOVE_OWNER)]
    CannotRemoveOwner,
    /// A user who owns accounts cannot be forgotten.
    #[error("the user owns accounts; transfer or close them first")]
    OwnsAccounts,
    /// The invitee is the account's owner or a member.
    #[error("the user already belongs to the account")]
    AlreadyMember,
    /// The invitee has a pending invite to this account.
    #[error("the user already has a pending invite to the account; revoke it first")]
    DuplicatePendingInvite,
    /// The invite was accepted, declined or revoked, has expired, or ended with its account or invitee.
    #[error("{}", sentences::INVITE_NOT_PENDING)]
    InviteNotPending,
    /// An active source of the account has this handle.
    #[error("the source handle is taken; choose another")]
    HandleTaken,
    /// The source has a pipe with this name.
    #[error("{}", sentences::PIPE_NAME_TAKEN)]
    PipeNameTaken,
    /// No user has approved or denied the device code yet.
    #[error("{}", sentences::DEVICE_CODE_PENDING)]
    Pending,
    /// The device code expired before it was used.
    #[error("{}", sentences::DEVICE_CODE_EXPIRED)]
    Expired,
    /// A user denied the device code.
    #[error("{}", sentences::DEVICE_CODE_DENIED)]
    Denied,
    /// The account already has a NATS public key, and it is a different one.
    #[error("{}", sentences::NATS_ACCOUNT_MISMATCH)]
    NatsAccountMismatch,
    /// The caller lacks the permission.
    #[error("you do not have permission to do this")]
    Forbidden,
    /// The user's sign-in mode is not GitHub.
    #[error("{}", sentences::NOT_A_GITHUB_USER)]
    NotAGithubUser,
    /// The user signs in through GitHub, so there is no sign-in link to issue.
    #[error("the user signs in through GitHub; sign-in links are only for internal users")]
    NotAnInternalUser,
    /// A resource with this identifier exists.
    #[error("{}", sentences::IDENTIFIER_IN_USE)]
    IdentifierInUse,
    /// The command would exceed a limit.
    #[error("limit reached: at most {} {}", .0.most, .0.what)]
    LimitReached(LimitReached),
    /// The queue for hashing API keys is full; nothing was changed.
    #[error("too many API keys are being checked; try again later")]
    Busy,
}

impl Refusal {
    /// The stable code that clients match on, for example `user.not_found`.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Invalid(_) => "invalid",
            Self::InvalidUserMode => "user.invalid_mode",
            Self::NotFound(Resource::User) => "user.not_found",
            Self::NotFound(Resource::Account) => "account.not_found",
            Self::NotFound(Resource::Member) => "member.not_found",
            Self::NotFound(Resource::Invite) => "invite.not_found",
            Self::NotFound(Resource::ApiKey) => "api_key.not_found",
            Self::NotFound(Resource::DeviceCode) => "device_code.not_found",
            Self::NotFound(Resource::BearerToken) => "bearer_token.not_found",
            Self::NotFound(Resource::Session) => "session.not_found",
            Self::NotFound(Resource::SignInLink) => "sign_in_link.not_found",
            Self::NotFound(Resource::Source) => "source.not_found",
            Self::NotFound(Resource::Pipe) => "pipe.not_found",
            Self::NotFound(Resource::Event) => "event.not_found",
            Self::UsernameTaken => "user.username_taken",
            Self::AccountNameTaken => "account.name_taken",
            Self::CannotRemoveOwner => "account.cannot_remove_owner",
            Self::OwnsAccounts => "user.owns_accounts",
            Self::AlreadyMember => "invite.already_member",
            Self::DuplicatePendingInvite => "invite.duplicate_pending",
            Self::InviteNotPending => "invite.not_pending",
            Self::HandleTaken => "source.handle_taken",
            Self::PipeNameTaken => "pipe.name_taken",
            Self::Pending => "device_code.pending",
            Self::Expired => "device_code.expired",
            Self::Denied => "device_code.denied",
            Self::NatsAccountMismatch => "account.nats_account_mismatch",
            Self::Forbidden => "forbidden",
            Self::NotAGithubUser => "user.not_a_github_user",
            Self::NotAnInternalUser => "user.not_an_internal_user",
            Self::IdentifierInUse => "identifier_in_use",
            Self::LimitReached(_) => "limit_reached",
            Self::Busy => "busy",
        }
    }
}

impl From<Infallible> for Refusal {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

impl From<UserRefusal> for Refusal {
    fn from(refusal: UserRefusal) -> Self {
        match refusal {
            UserRefusal::NotFound => Self::NotFound(Resource::User),
            UserRefusal::AlreadyRegistered => Self::IdentifierInUse,
            UserRefusal::NotAGithubUser => Self::NotAGithubUser,
        }
    }
}

impl From<AccountRefusal> for Refusal {
    fn from(refusal: AccountRefusal) -> Self {
        match refusal {
            AccountRefusal::NotFound => Self::NotFound(Resource::Account),
            AccountRefusal::AlreadyOpen => Self::IdentifierInUse,
            AccountRefusal::NotAMember => Self::NotFound(Resource::Member),
            AccountRefusal::CannotRemoveOwner => Self::CannotRemoveOwner,
            AccountRefusal::NatsAccountMismatch => Self::NatsAccountMismatch,
        }
    }
}

impl From<InviteRefusal> for Refusal {
    fn from(refusal: InviteRefusal) -> Self {
        match refusal {
            InviteRefusal::NotFound => Self::NotFound(Resource::Invite),
            InviteRefusal::AlreadyCreated => Self::IdentifierInUse,
            InviteRefusal::NotPending => Self::InviteNotPending,
        }
    }
}

impl From<ApiKeyRefusal> for Refusal {
    fn from(refusal: ApiKeyRefusal) -> Self {
        match refusal {
            ApiKeyRefusal::NotFound => Self::NotFound(Resource::ApiKey),
            ApiKeyRefusal::AlreadyMinted => Self::IdentifierInUse,
        }
    }
}

impl From<DeviceCodeRefusal> for Refusal {
    fn from(refusal: DeviceCodeRefusal) -> Self {
        match refusal {
            DeviceCodeRefusal::NotFound => Self::NotFound(Resource::DeviceCode),
            DeviceCodeRefusal::AlreadyCreated => Self::IdentifierInUse,
            DeviceCodeRefusal::Pending => Self::Pending,
            DeviceCodeRefusal::Expired => Self::Expired,
            DeviceCodeRefusal::Denied => Self::Denied,
        }
    }
}

impl From<BearerTokenRefusal> for Refusal {
    fn from(refusal: BearerTokenRefusal) -> Self {
        match refusal {
            BearerTokenRefusal::NotFound => Self::NotFound(Resource::BearerToken),
            BearerTokenRefusal::IdentifierInUse => Self::IdentifierInUse,
        }
    }
}

impl From<SessionRefusal> for Refusal {
    fn from(refusal: SessionRefusal) -> Self {
        match refusal {
            SessionRefusal::NotFound => Self::NotFound(Resource::Session),
            SessionRefusal::IdentifierInUse => Self::IdentifierInUse,
        }
    }
}

impl From<SignInLinkRefusal> for Refusal {
    fn from(refusal: SignInLinkRefusal) -> Self {
        match refusal {
            SignInLinkRefusal::NotFound => Self::NotFound(Resource::SignInLink),
            SignInLinkRefusal::IdentifierInUse => Self::IdentifierInUse,
        }
    }
}

impl From<SourceRefusal> for Refusal {
    fn from(refusal: SourceRefusal) -> Self {
        match refusal {
            SourceRefusal::NotFound => Self::NotFound(Resource::Source),
            SourceRefusal::AlreadyCreated => Self::IdentifierInUse,
            SourceRefusal::PipeNotFound => Self::NotFound(Resource::Pipe),
            SourceRefusal::PipeNameTaken => Self::PipeNameTaken,
        }
    }
}
