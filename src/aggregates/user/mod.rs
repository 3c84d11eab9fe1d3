//! A person: who they are, how they sign in, whether they run the instance.

mod claims;
mod commands;
mod decide;
mod events;
mod refusal;
mod state;
#[cfg(test)]
mod tests;
mod values;

pub use claims::{github_id_claim, username_claim};
pub use commands::{Profile, RegisterUser, UserCommand};
pub use events::{UserEvent, UserMode};
pub use refusal::UserRefusal;
pub use state::{Registered, User};
pub use values::{AvatarUrl, Email, GithubId, GithubLogin, Username};
