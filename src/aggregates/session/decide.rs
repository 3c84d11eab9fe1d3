//! The rules of a session.

use super::commands::SessionCommand;
use super::events::SessionEvent;
use super::refusal::SessionRefusal;
use super::state::Session;
use crate::aggregates::EventSourced;

impl EventSourced for Session {
    const STATE_VERSION: i32 = 2;

    fn decide(&self, command: SessionCommand) -> Result<Vec<SessionEvent>, SessionRefusal> {
        match (self, command) {
            (Self::Unknown, SessionCommand::Start(new)) => Ok(vec![SessionEvent::Started {
                user: new.user,
                at: new.at,
                expires_at: new.expires_at,
                digest: new.digest.into(),
            }]),
            (Self::Active(_) | Self::Ended { .. }, SessionCommand::Start(_)) => {
                Err(SessionRefusal::IdentifierInUse)
            }
            (Self::Unknown, SessionCommand::End { .. }) => Err(SessionRefusal::NotFound),
            (Self::Active(active), SessionCommand::End { at }) => {
                Ok(vec![SessionEvent::Ended { user: active.user, at }])
            }
            (Self::Ended { .. }, SessionCommand::End { .. }) => Ok(vec![]),
        }
    }
}
