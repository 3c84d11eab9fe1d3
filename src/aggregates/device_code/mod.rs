//! A device code (RFC 8628): a device polls with a secret device code while a user approves the short user code.

mod claims;
mod commands;
mod decide;
mod events;
mod refusal;
mod state;
#[cfg(test)]
mod tests;
mod values;

pub use claims::user_code_claim;
pub use commands::{DeviceCodeCommand, DeviceCodeDetails};
pub use events::DeviceCodeEvent;
pub use refusal::DeviceCodeRefusal;
pub use state::{DeviceCode, Status};
pub use values::{ClientName, UserCode};
