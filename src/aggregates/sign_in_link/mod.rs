//! A sign-in link: issued by an operator, valid for one sign-in of one user until it expires.

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
