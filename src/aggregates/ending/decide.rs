//! The rules of an ending.

use std::convert::Infallible;

use super::commands::EndingCommand;
use super::events::EndingEvent;
use super::state::Ending;
use crate::aggregates::EventSourced;

impl EventSourced for Ending {
    const STATE_VERSION: i32 = 1;

    fn decide(&self, command: EndingCommand) -> Result<Vec<EndingEvent>, Infallible> {
        // Several nodes may clear the same ending; a late one must not add events to a finished ending.
        if self.finished {
            return Ok(vec![]);
        }
        Ok(vec![match command {
            EndingCommand::RemoveAccountRows(rows) => EndingEvent::AccountRowsRemoved(rows),
            EndingCommand::BlankPersonRows(rows) => EndingEvent::PersonRowsBlanked(rows),
            EndingCommand::RevokeKeys(keys) => EndingEvent::ApiKeysRevoked(keys),
            EndingCommand::Finish(of) => EndingEvent::Finished { of },
        }])
    }
}
