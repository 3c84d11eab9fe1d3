//! One newtype for each kind of identifier, so that no signature carries a bare UUID.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type};
use uuid::Uuid;

use crate::clock::Timestamp;
use crate::entropy::{Entropy, uuid_v7};

macro_rules! identifier {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// A new, time-ordered identifier.
            #[must_use]
            pub fn new(at: Timestamp, entropy: &dyn Entropy) -> Self {
                Self(uuid_v7(at, entropy))
            }

            /// Wraps an existing identifier.
            #[must_use]
            pub const fn from_uuid(id: Uuid) -> Self {
                Self(id)
            }

            /// The identifier as a UUID.
            #[must_use]
            pub const fn as_uuid(self) -> Uuid {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map(Self)
            }
        }

        impl ToSql for $name {
            fn to_sql(
                &self,
                ty: &Type,
                out: &mut bytes::BytesMut,
            ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
                self.0.to_sql(ty, out)
            }

            fn accepts(ty: &Type) -> bool {
                <Uuid as ToSql>::accepts(ty)
            }

            tokio_postgres::types::to_sql_checked!();
        }

        impl<'a> FromSql<'a> for $name {
            fn from_sql(
                ty: &Type,
                raw: &'a [u8],
            ) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
                Uuid::from_sql(ty, raw).map(Self)
            }

            fn accepts(ty: &Type) -> bool {
                <Uuid as FromSql>::accepts(ty)
            }
        }
    };
}

identifier! {
    /// Identifies a user.
    UserId
}
identifier! {
    /// Identifies an account, which is a tenant.
    AccountId
}
identifier! {
    /// Identifies an API key, which acts for an account.
    ApiKeyId
}
identifier! {
    /// Identifies a bearer token: an OAuth access token of a user.
    BearerTokenId
}
identifier! {
    /// Identifies an invite: an offer of membership.
    InviteId
}
identifier! {
    /// Identifies a device code and its user code, with which a device requests a token (RFC 8628).
    DeviceCodeId
}
identifier! {
    /// Identifies a session of a browser.
    SessionId
}
identifier! {
    /// Identifies a source: a named actor in an account.
    SourceId
}
identifier! {
    /// Identifies a sign-in link.
    SignInLinkId
}
identifier! {
    /// Identifies the data key that seals what invites say of a username that no user has yet.
    NameKeyId
}
identifier! {
    /// Identifies a pipe: a named sub-channel of a source.
    PipeId
}
identifier! {
    /// Identifies a stored event.
    EventId
}

impl EventId {
    /// Used where there is no event, or where the event is not known.
    pub const NIL: Self = Self(Uuid::nil());
}

identifier! {
    /// Identifies an event log; never changes over its lifetime.
    LogId
}
identifier! {
    /// Ties commands together across requests and services.
    CorrelationId
}

impl UserId {
    /// The seeded user, which owns whatever has no other owner and never signs in.
    pub const UNAUTHENTICATED: Self = Self(Uuid::from_u128(1));
}
