//! A user: names, profile, how they sign in, and whether they are an operator.

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
    /// The subject whose data key seals the fields of this user.
    #[must_use]
    pub fn subject(self) -> crate::sealing::Subject {
        <User as crate::aggregates::EventSourced>::subject(self.as_uuid())
    }
}

impl crate::ids::NameKeyId {
    /// The subject of this name key: seals what invites say of a name that is not registered.
    #[must_use]
    pub const fn subject(self) -> crate::sealing::Subject {
        crate::sealing::Subject { kind: "name", id: self.as_uuid() }
    }
}
