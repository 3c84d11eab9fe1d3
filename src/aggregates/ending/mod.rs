//! An ending: clears the projection rows that a closed account, a forgotten user or an ended membership left behind.
//! The ending event has already made them invisible; clearing runs later, in steps of bounded size.

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
