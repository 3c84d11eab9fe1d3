//! The routes of the Tenure API: one file per operation, grouped by resource.

pub mod accounts;
pub mod events;
pub mod explain;
pub mod invites;
pub mod keys;
pub mod members;
pub mod pipes;
pub mod sessions;
pub mod sources;
pub mod tokens;
pub mod users;
