//! Projections: the tables that queries read, made from events by pure functions, and the typed queries on them.
//!
//! The same functions serve every commit and every replay. This file holds the one list of all projections.

pub mod accounts;
pub mod api_keys;
pub mod bearer_tokens;
pub mod device_codes;
pub mod endings;
pub mod invites;
pub mod members;
pub mod name_keys;
#[cfg(feature = "next-release")]
mod next_release;
pub mod page;
pub mod pipes;
mod query;
mod sealed_value;
pub mod sessions;
pub mod sign_in_links;
pub mod sources;
pub mod unique_claims;
pub mod users;

use uuid::Uuid;

pub use query::{QueryError, Reader};

use crate::aggregates::AnyEvent;
use crate::event_log::rows::{RowChange, Table};

/// All projected tables, including the claims.
pub static TABLES: &[&Table] = &[
    &users::TABLE,
    &accounts::TABLE,
    #[cfg(not(feature = "next-release"))]
    &members::TABLE,
    #[cfg(feature = "next-release")]
    &next_release::MEMBERS,
    &invites::TABLE,
    &api_keys::TABLE,
    &device_codes::TABLE,
    &bearer_tokens::TABLE,
    &sessions::TABLE,
    #[cfg(not(feature = "next-release"))]
    &sign_in_links::TABLE,
    &sources::TABLE,
    &pipes::TABLE,
    &name_keys::TABLE,
    &endings::TABLE,
    &unique_claims::TABLE,
];

/// The name of this release's projection set: every table with its version, such as `users:1,accounts:2`.
#[must_use]
pub fn set_name() -> String {
    let names: Vec<String> = TABLES.iter().map(|table| table.versioned_name()).collect();
    names.join(",")
}

/// The row changes that an event of this stream causes in all tables except the claims, which the append itself writes.
#[must_use]
pub fn changes(stream: Uuid, event: &AnyEvent) -> Vec<RowChange> {
    let all = [
        users::changes,
        accounts::changes,
        members::changes,
        invites::changes,
        api_keys::changes,
        device_codes::changes,
        bearer_tokens::changes,
        sessions::changes,
        sign_in_links::changes,
        sources::changes,
        pipes::changes,
        name_keys::changes,
        endings::changes,
    ];
    let changes = all.iter().flat_map(|changes| changes(stream, event));
    #[cfg(feature = "next-release")]
    let changes = changes.filter_map(next_release::altered);
    changes.collect()
}
