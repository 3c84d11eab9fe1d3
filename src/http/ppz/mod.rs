//! The routes that existing ppz clients call; their paths, request bodies and responses must not change.

pub mod accept_invite;
pub mod account_invites;
mod client_command;
pub mod create_pipe;
pub mod create_source;
pub mod decline_invite;
pub mod delete_pipe;
pub mod delete_source;
pub mod exchange;
pub mod invite;
pub mod list_sources;
pub mod my_invites;
mod named;
pub mod revoke_invite;
pub mod revoke_key;
mod shared;
pub mod show_source;
