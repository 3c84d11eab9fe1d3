//! A session: the sign-in of a user in a browser, valid until it is ended or expires.

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
