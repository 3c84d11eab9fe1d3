//! An account (tenant): its name, owner, members and NATS keys.

mod claims;
mod commands;
mod decide;
mod events;
mod refusal;
mod state;
#[cfg(test)]
mod tests;
mod values;

pub use claims::account_name_claim;
pub use commands::AccountCommand;
pub use events::{AccountEvent, ListedAtClosing};
pub use refusal::AccountRefusal;
pub use state::{Account, Open};
pub use values::{AccountName, NatsPublicKey, NatsSeed};

impl crate::ids::AccountId {
    /// The subject whose data key seals the fields of this account.
    #[must_use]
    pub fn subject(self) -> crate::sealing::Subject {
        <Account as crate::aggregates::EventSourced>::subject(self.as_uuid())
    }
}
