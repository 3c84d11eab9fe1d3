//! Secrets: the key ring that seals what is personal; API keys, tokens and codes; where they are hashed.

pub mod api_key;
pub mod argon2_pool;
pub mod forgotten;
pub mod key_ring;
pub mod master_key;
pub mod token;
