//! What an account, a person or a membership that ended has left behind in the projections, and how it was cleared away:
//! step by step, each of a bounded size, long after the ending itself has made it invisible.

mod claims;
mod commands;
mod decide;
mod events;
mod state;
#[cfg(test)]
mod tests;

pub use commands::EndingCommand;
pub use events::{AccountRows, Ended, EndingEvent, PersonRows, RevokedKeys, SourceLeft};
pub use state::Ending;
