//! The state of a session that decisions need.

use cqrs_es::Aggregate;
use serde::{Deserialize, Serialize};

use super::commands::SessionCommand;
use super::events::SessionEvent;
use super::refusal::SessionRefusal;
use crate::aggregates::handle_by_decide;
use crate::clock::Timestamp;
use crate::ids::UserId;
use crate::sealing::{FieldVisitor, SealError, SealedFields, Subject};

/// A session, folded from the events of the stream.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub enum Session {
    /// The stream has no events.
    #[default]
    Unknown,
    /// The session was started and not ended. It may have expired.
    Active(Active),
    /// The session was ended.
    Ended {
        /// The user who was signed in.
        user: UserId,
    },
}

/// A session that was started and not ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Active {
    /// The user who is signed in.
    pub user: UserId,
    /// When the session expires.
    pub expires_at: Timestamp,
}

impl Session {
    /// The user who is or was signed in; none if unknown.
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
