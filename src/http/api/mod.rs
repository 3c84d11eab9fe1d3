//! Our own API: one file an operation, under the noun that it is about.

pub mod accounts;
pub mod events;
pub mod invites;
pub mod keys;
pub mod members;
pub mod pipes;
pub mod sessions;
pub mod sources;
pub mod tokens;
pub mod users;
