//! A browser's sign-in: started, ended, or dead by the clock.

mod commands;
mod decide;
mod events;
mod refusal;
mod state;
#[cfg(test)]
mod tests;

pub use commands::{NewSession, SessionCommand};
pub use events::SessionEvent;
pub use refusal::SessionRefusal;
pub use state::{Active, Session};
