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
            /// A fresh, time-ordered identifier.
            #[must_use]
            pub fn new(at: Timestamp, entropy: &dyn Entropy) -> Self {
                Self(uuid_v7(at, entropy))
            }

            /// An identifier that is already known.
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
    /// A person.
    UserId
}
identifier! {
    /// A tenant.
    AccountId
}
identifier! {
    /// A secret that acts for an account.
    ApiKeyId
}
identifier! {
    /// An OAuth access token of a user.
    BearerTokenId
}
identifier! {
    /// An offer of membership.
    InviteId
}
identifier! {
    /// A pair of codes by which a device asks for a token.
    DeviceCodeId
}
identifier! {
    /// A browser's sign-in.
    SessionId
}
identifier! {
    /// A named actor in an account.
    SourceId
}
identifier! {
    /// A sign in link.
    SignInLinkId
}
identifier! {
    /// The key of what is said of a name that nobody has yet.
    NameKeyId
}
identifier! {
    /// A named sub-channel of a source.
    PipeId
}
identifier! {
    /// One stored event.
    EventId
}

impl EventId {
    /// Stands where there is no event, or where it is not known which one.
    pub const NIL: Self = Self(Uuid::nil());
}

identifier! {
    /// One event log, for as long as it lives.
    LogId
}
identifier! {
    /// What belongs together across commands and services.
    CorrelationId
}

impl UserId {
    /// The seeded user that owns what nobody else owns and never signs in.
    pub const UNAUTHENTICATED: Self = Self(Uuid::from_u128(1));
}
