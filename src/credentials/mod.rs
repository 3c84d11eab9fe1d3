//! Secrets: the key ring that seals personal data; API keys, tokens and codes; the threads that hash them.

pub mod api_key;
pub mod argon2_pool;
pub mod forgotten;
pub mod key_ring;
pub mod master_key;
pub mod token;
