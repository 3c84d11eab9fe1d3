//! The state of an ending that decisions need.

use std::convert::Infallible;

use cqrs_es::Aggregate;
use serde::{Deserialize, Serialize};

use super::commands::EndingCommand;
use super::events::EndingEvent;
use crate::aggregates::handle_by_decide;
use crate::sealing::{FieldVisitor, SealError, SealedFields, Subject};

/// An ending, folded from the events of the stream.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ending {
    /// Whether all rows have been cleared.
    pub finished: bool,
}

impl Aggregate for Ending {
    const TYPE: &'static str = "ending";
    type Command = EndingCommand;
    type Event = EndingEvent;
    type Error = Infallible;
    type Services = ();

    handle_by_decide!();

    fn apply(&mut self, event: EndingEvent) {
        if let EndingEvent::Finished { .. } = event {
            self.finished = true;
        }
    }
}

impl SealedFields for Ending {
    fn visit_sealed(&mut self, _: Subject, _: &mut dyn FieldVisitor) -> Result<(), SealError> {
        Ok(())
    }
}
