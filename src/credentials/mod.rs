//! Secrets: the key ring that seals what is personal.

pub mod key_ring;
pub mod master_key;
