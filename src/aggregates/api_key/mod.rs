//! An API key: a secret that acts for an account. It can be minted, rotated and revoked.

mod commands;
mod decide;
mod events;
mod refusal;
mod state;
#[cfg(test)]
mod tests;
mod values;

pub use commands::{ApiKeyCommand, NewApiKey};
pub use events::ApiKeyEvent;
pub use refusal::ApiKeyRefusal;
pub use state::{ApiKey, Minted};
pub use values::{KeyHash, KeyPrefix, Label};
