//! A tenant: its name, its owner, its members.

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
pub use events::AccountEvent;
pub use refusal::AccountRefusal;
pub use state::{Account, Open};
pub use values::AccountName;
