//! A bearer token: an opaque OAuth access token of a user, valid until it is revoked or expires.

mod commands;
mod decide;
mod events;
mod refusal;
mod state;
#[cfg(test)]
mod tests;

pub use commands::{BearerTokenCommand, NewBearerToken};
pub use events::BearerTokenEvent;
pub use refusal::BearerTokenRefusal;
pub use state::{Active, BearerToken};
