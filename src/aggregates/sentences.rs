//! The sentences of refusals that both an aggregate and an operation can give: what is wrong, then what to do.

use std::fmt;

/// The kind of resource that was not found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Resource {
    /// A user.
    User,
    /// An account (a tenant).
    Account,
    /// A user's membership in an account.
    Member,
    /// An offer of membership in an account.
    Invite,
    /// A key that acts for an account.
    ApiKey,
    /// A code with which a device asks to act for a user.
    DeviceCode,
    /// A user's access token.
    BearerToken,
    /// A user's browser session.
    Session,
    /// A link with which a user signs in once.
    SignInLink,
    /// A named actor in an account.
    Source,
    /// A sub-channel of a source.
    Pipe,
    /// An event of the log.
    Event,
}

impl Resource {
    /// The stable name used in refusal codes.
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
            Self::Event => "event",
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

/// The resource does not exist, as far as the caller may know.
#[must_use]
pub fn no_such(resource: Resource) -> String {
    format!("there is no such {resource}")
}

/// A resource with this identifier exists or existed.
pub const IDENTIFIER_IN_USE: &str = "the identifier is already in use";
/// An account always has an owner.
pub const CANNOT_REMOVE_OWNER: &str = "the owner of an account cannot be removed; transfer ownership first";
/// The NATS public key of an account never changes.
pub const NATS_ACCOUNT_MISMATCH: &str = "the account already has a different NATS public key";
/// There is no GitHub profile to refresh.
pub const NOT_A_GITHUB_USER: &str = "the user does not sign in through GitHub";
/// The invite was accepted, declined or revoked, or has expired.
pub const INVITE_NOT_PENDING: &str = "the invite is no longer pending";
/// The source has a pipe with this name.
pub const PIPE_NAME_TAKEN: &str = "the pipe name is taken; choose another";
/// No user has decided on the device code yet.
pub const DEVICE_CODE_PENDING: &str = "the device code has not been approved yet; poll again";
/// The device code was not used in time.
pub const DEVICE_CODE_EXPIRED: &str = "the device code has expired; request a new one";
/// A user denied the device code.
pub const DEVICE_CODE_DENIED: &str = "the device code was denied; request a new one";
