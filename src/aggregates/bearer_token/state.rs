//! What decisions about a bearer token need to know.

use cqrs_es::Aggregate;
use serde::{Deserialize, Serialize};

use super::commands::BearerTokenCommand;
use super::events::BearerTokenEvent;
use super::refusal::BearerTokenRefusal;
use crate::aggregates::handle_by_decide;
use crate::clock::Timestamp;
use crate::ids::UserId;
use crate::sealing::{FieldVisitor, SealError, SealedFields, Subject};

/// What the log knows of a bearer token.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub enum BearerToken {
    /// Nothing yet.
    #[default]
    Unknown,
    /// It is good until it expires.
    Active(Active),
    /// It is good for nothing.
    Revoked {
        /// Whose it was.
        user: UserId,
    },
}

/// What is good until it expires.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Active {
    /// Whose it is.
    pub user: UserId,
    /// From when on it is dead.
    pub expires_at: Timestamp,
}

impl BearerToken {
    /// Whose it is or was.
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
