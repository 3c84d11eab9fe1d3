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

pub use claims::{github_id_claim, invited_name_claim, username_claim};
pub use commands::{NewUser, Profile, UserCommand};
pub use events::{UserEvent, UserMode};
pub use refusal::UserRefusal;
pub use state::{Registered, User};
pub use values::{AvatarUrl, Email, GithubId, GithubLogin, MAX_CLASHES, Username};

impl crate::ids::UserId {
    /// The subject whose key seals what is this person's.
    #[must_use]
    pub fn subject(self) -> crate::sealing::Subject {
        <User as crate::aggregates::EventSourced>::subject(self.as_uuid())
    }
}

impl crate::ids::NameKeyId {
    /// The key of what is said of a name that nobody has.
    #[must_use]
    pub const fn subject(self) -> crate::sealing::Subject {
        crate::sealing::Subject { kind: "name", id: self.as_uuid() }
    }
}
