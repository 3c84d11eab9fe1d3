//! The state of a bearer token that decisions need.

use cqrs_es::Aggregate;
use serde::{Deserialize, Serialize};

use super::commands::BearerTokenCommand;
use super::events::BearerTokenEvent;
use super::refusal::BearerTokenRefusal;
use crate::aggregates::handle_by_decide;
use crate::clock::Timestamp;
use crate::ids::UserId;
use crate::sealing::{FieldVisitor, SealError, SealedFields, Subject};

/// A bearer token, folded from the events of the stream.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub enum BearerToken {
    /// The stream has no events.
    #[default]
    Unknown,
    /// The token was issued and not revoked. It may have expired.
    Active(Active),
    /// The token was revoked.
    Revoked {
        /// The user whom the token acted for.
        user: UserId,
    },
}

/// A bearer token that was issued and not revoked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Active {
    /// The user whom the token acts for.
    pub user: UserId,
    /// When the token expires.
    pub expires_at: Timestamp,
}

impl BearerToken {
    /// The user whom the token acts or acted for; none if unknown.
    #[must_use]
    pub const fn owner(&self) -> Option<UserId> {
        match self {
            Self::Active(active) => Some(active.user),
            Self::Revoked { user } => Some(*user),
            Self::Unknown => None,
        }
    }
}

impl Aggregate for BearerToken {
    const TYPE: &'static str = "bearer_token";
    type Command = BearerTokenCommand;
    type Event = BearerTokenEvent;
    type Error = BearerTokenRefusal;
    type Services = ();

    handle_by_decide!();

    fn apply(&mut self, event: BearerTokenEvent) {
        *self = match event {
            BearerTokenEvent::Issued { user, expires_at, .. } => Self::Active(Active { user, expires_at }),
            BearerTokenEvent::Revoked { user, .. } => Self::Revoked { user },
        };
    }
}

impl SealedFields for BearerToken {
    fn visit_sealed(&mut self, _: Subject, _: &mut dyn FieldVisitor) -> Result<(), SealError> {
        Ok(())
    }
}
