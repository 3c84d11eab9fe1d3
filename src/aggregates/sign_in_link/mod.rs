//! A link by which a person signs in once: issued by an operator, used, or dead by the clock.

mod commands;
mod decide;
mod events;
mod refusal;
mod state;
#[cfg(test)]
mod tests;

pub use commands::{NewSignInLink, SignInLinkCommand};
pub use events::SignInLinkEvent;
pub use refusal::SignInLinkRefusal;
pub use state::{Active, SignInLink};
