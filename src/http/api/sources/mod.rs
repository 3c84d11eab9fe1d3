//! Routes for sources, the named actors of an account.

pub mod broadcast;
pub mod create;
pub mod delete;
pub mod list;
pub mod show;

use serde::Serialize;
use utoipa::ToSchema;

use crate::clock::Timestamp;
use crate::http::as_of::View;
use crate::http::error::{ApiError, or_not_found};
use crate::http::state::AppState;
use crate::ids::{AccountId, SourceId, UserId};
use crate::nats::streams::pipe_subject;
use crate::operations::Resource;
use crate::projections::sources::Source;

/// A source: a named actor of an account that has pipes.
#[derive(Serialize, ToSchema)]
pub struct SourceRecord {
    /// The source's identifier.
    pub id: SourceId,
    /// The account that the source belongs to.
    pub account_id: AccountId,
    /// The identifier of the user who created the source.
    pub created_by_user_id: UserId,
    /// The source's handle, unique in its account.
    pub handle: String,
    /// The kind of source: `message` or `pty`.
    pub kind: &'static str,
    /// The NATS subject of the source's inbox.
    pub subject: String,
    /// The names of the automatic pipes, which follow from the source's kind.
    pub auto_pipes: &'static [&'static str],
    /// When the source was created.
    pub created_at: Timestamp,
    /// When the source last broadcast; `null` if it never has.
    #[schema(required = true)]
    pub last_broadcast_at: Option<Timestamp>,
    /// The text of the last broadcast; `null` if there is none.
    #[schema(required = true)]
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

/// The NATS subject of a source: that of its inbox, whatever its kind.
pub fn subject(account: AccountId, handle: &str) -> String {
    pipe_subject(account, handle, "inbox")
}

/// Finds the source with this handle in an account; a deleted source is not found.
pub(in crate::http) async fn source_by_handle(
    state: &AppState,
    account: AccountId,
    handle: &str,
) -> Result<Source, ApiError> {
    or_not_found(state.tenure.reader().source_by_handle(account, handle).await, Resource::Source)
}

/// The source that has this handle now, as it is or was: a handle means what it means now.
pub(in crate::http) async fn source_of(
    state: &AppState,
    view: &View,
    handle: &str,
) -> Result<Source, ApiError> {
    let source = source_by_handle(state, view.now.id, handle).await?;
    if view.is_past() {
        or_not_found(view.reader.source(source.id).await, Resource::Source)
    } else {
        Ok(source)
    }
}
