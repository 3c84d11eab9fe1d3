//! Why an operation was refused: one list for all of them, with stable codes.

use std::convert::Infallible;
use std::fmt;

use crate::aggregates::account::AccountRefusal;
use crate::aggregates::api_key::ApiKeyRefusal;
use crate::aggregates::bearer_token::BearerTokenRefusal;
use crate::aggregates::device_code::DeviceCodeRefusal;
use crate::aggregates::field::Invalid;
use crate::aggregates::invite::InviteRefusal;
use crate::aggregates::session::SessionRefusal;
use crate::aggregates::sign_in_link::SignInLinkRefusal;
use crate::aggregates::source::SourceRefusal;
use crate::aggregates::user::UserRefusal;

/// What was not found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Resource {
    /// A person.
    User,
    /// A tenant.
    Account,
    /// A membership.
    Member,
    /// An offer of membership.
    Invite,
    /// A key that acts for a tenant.
    ApiKey,
    /// A device that wants to act for a person.
    DeviceCode,
    /// An access token.
    BearerToken,
    /// A browser's sign-in.
    Session,
    /// A link by which a person signs in once.
    SignInLink,
    /// A named actor in a tenant.
    Source,
    /// A sub-channel of a source.
    Pipe,
}

impl Resource {
    /// The stable name, as it stands in codes.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Account => "account",
            Self::Member => "member",
            Self::Invite => "invite",
            Self::ApiKey => "api_key",
            Self::DeviceCode => "device_code",
            Self::BearerToken => "bearer_token",
            Self::Session => "session",
            Self::SignInLink => "sign_in_link",
            Self::Source => "source",
            Self::Pipe => "pipe",
        }
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ApiKey => "API key",
            Self::DeviceCode => "device code",
            Self::BearerToken => "bearer token",
            Self::SignInLink => "sign-in link",
            other => other.as_str(),
        })
    }
}

/// Of what there are as many as there may be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LimitReached {
    /// What is counted, for example `sources of the account`.
    pub what: &'static str,
    /// How many there may be.
    pub most: u32,
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
    NotFound(Resource),
    /// Somebody has this username.
    #[error("the username is taken")]
    UsernameTaken,
    /// Somebody has this account name.
    #[error("the account name is taken")]
    AccountNameTaken,
    /// The owner stays until ownership is transferred.
    #[error("the owner of an account cannot be removed; transfer the ownership first")]
    CannotRemoveOwner,
    /// Whoever owns accounts cannot be forgotten.
    #[error("the user owns accounts; transfer or close them first")]
    OwnsAccounts,
    /// The person belongs to the account already.
    #[error("the user is a member or the owner of the account already")]
    AlreadyMember,
    /// A standing invite of this person to this account is there.
    #[error("a pending invite for this user exists already")]
    DuplicatePendingInvite,
    /// The invite has been decided, taken back, or is dead by the clock.
    #[error("the invite is not pending")]
    InviteNotPending,
    /// A living source of the account has this handle.
    #[error("the handle is taken")]
    HandleTaken,
    /// The source has a pipe of this name.
    #[error("the name of the pipe is taken")]
    PipeNameTaken,
    /// Nobody has approved or denied the device code yet.
    #[error("the device code has not been approved yet")]
    Pending,
    /// The device code's time is over.
    #[error("the device code has expired")]
    Expired,
    /// A person has denied the device code.
    #[error("the device code was denied")]
    Denied,
    /// The account has another public key at NATS.
    #[error("the account has another public key at NATS")]
    NatsAccountMismatch,
    /// The caller may not do this.
    #[error("this is not yours to do")]
    Forbidden,
    /// The person does not sign in through GitHub.
    #[error("the user does not sign in through GitHub")]
    NotAGithubUser,
    /// The person signs in through GitHub.
    #[error("the user signs in through GitHub, and not by links")]
    NotAnInternalUser,
    /// The identifier is in use already.
    #[error("the identifier is in use already")]
    IdentifierInUse,
    /// As many of these as there may be are there already.
    #[error("there are as many {} as there may be: {}", .0.what, .0.most)]
    LimitReached(LimitReached),
    /// Too many secrets are being hashed; nothing was done.
    #[error("too many keys are being checked at this moment; try again later")]
    Busy,
}

impl Refusal {
    /// The stable code of this reason.
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
