//! Named actors in a tenant.

pub mod broadcast;
pub mod create;
pub mod delete;
pub mod list;
pub mod show;

use serde::Serialize;
use utoipa::ToSchema;

use crate::clock::Timestamp;
use crate::http::error::{ApiError, or_not_found};
use crate::http::state::AppState;
use crate::ids::{AccountId, SourceId, UserId};
use crate::operations::Resource;
use crate::projections::sources::Source;

/// A source.
#[derive(Serialize, ToSchema)]
pub struct SourceRecord {
    /// The identifier.
    pub id: SourceId,
    /// The tenant that it is in.
    pub account_id: AccountId,
    /// Who made it.
    pub created_by_user_id: UserId,
    /// What it is called.
    pub handle: String,
    /// `message` or `pty`.
    pub kind: &'static str,
    /// The subject under which its pipes are found at NATS.
    pub subject: String,
    /// The pipes that it has by itself.
    pub auto_pipes: &'static [&'static str],
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last sent something to all.
    pub last_broadcast_at: Option<Timestamp>,
    /// What it last sent to all.
    pub last_broadcast_payload: Option<String>,
}

impl From<Source> for SourceRecord {
    fn from(source: Source) -> Self {
        Self {
            subject: subject(source.account_id, &source.handle),
            id: source.id,
            account_id: source.account_id,
            created_by_user_id: source.created_by_user_id,
            handle: source.handle,
            kind: source.kind.as_str(),
            auto_pipes: source.kind.auto_pipes(),
            created_at: source.created_at,
            last_broadcast_at: source.last_broadcast_at,
            last_broadcast_payload: source.last_broadcast_payload,
        }
    }
}

/// The subject of a source: a pipe's is this, a dot, and the pipe's name.
pub fn subject(account: AccountId, handle: &str) -> String {
    format!("{account}.{handle}")
}

impl AppState {
    /// The living source of an account with this handle.
    pub(in crate::http) async fn source(&self, account: AccountId, handle: &str) -> Result<Source, ApiError> {
        or_not_found(self.tenure.reader().source_by_handle(account, handle).await, Resource::Source)
    }
}
