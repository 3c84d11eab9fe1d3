//! What decisions about a session need to know.

use cqrs_es::Aggregate;
use serde::{Deserialize, Serialize};

use super::commands::SessionCommand;
use super::events::SessionEvent;
use super::refusal::SessionRefusal;
use crate::aggregates::handle_by_decide;
use crate::clock::Timestamp;
use crate::ids::UserId;
use crate::sealing::{FieldVisitor, SealError, SealedFields, Subject};

/// What the log knows of a session.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub enum Session {
    /// Nothing yet.
    #[default]
    Unknown,
    /// It is good until it expires.
    Active(Active),
    /// It is good for nothing.
    Ended {
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

impl Session {
    /// Whose it is or was.
    #[must_use]
    pub const fn owner(&self) -> Option<UserId> {
        match self {
            Self::Active(active) => Some(active.user),
            Self::Ended { user } => Some(*user),
            Self::Unknown => None,
        }
    }
}

impl Aggregate for Session {
    const TYPE: &'static str = "session";
    type Command = SessionCommand;
    type Event = SessionEvent;
    type Error = SessionRefusal;
    type Services = ();

    handle_by_decide!();

    fn apply(&mut self, event: SessionEvent) {
        *self = match event {
            SessionEvent::Started { user, expires_at, .. } => Self::Active(Active { user, expires_at }),
            SessionEvent::Ended { user, .. } => Self::Ended { user },
        };
    }
}

impl SealedFields for Session {
    fn visit_sealed(&mut self, _: Subject, _: &mut dyn FieldVisitor) -> Result<(), SealError> {
        Ok(())
    }
}
