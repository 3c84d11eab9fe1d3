//! A source: a named actor in an account, with the pipes that users created for it.

mod claims;
mod commands;
mod decide;
mod events;
mod refusal;
mod state;
#[cfg(test)]
mod tests;
mod values;

pub use claims::handle_claim;
pub use commands::{NewPipe, NewSource, SourceCommand};
pub use events::SourceEvent;
pub use refusal::SourceRefusal;
pub use state::{Active, Source};
pub use values::{Handle, PipeName, Retention, RetentionDefaults, SourceKind};
