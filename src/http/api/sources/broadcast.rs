//! `PUT /api/v1/accounts/{account}/sources/{handle}/broadcast`: what a source last sent to all.

use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::clock::Timestamp;
use crate::http::body::MAX_LARGE_BODY;
use crate::http::error::ApiError;
use crate::http::extract::JsonCommand;
use crate::http::policy::Permission;
use crate::http::state::SharedState;

/// What was sent.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Broadcast {
    /// When [default: now]; at most five minutes ahead.
    pub at: Option<Timestamp>,
    /// At most 64 KiB of text without NUL.
    #[schema(pattern = "^[^\\u0000]*$", max_length = 65_536)]
    pub payload: String,
}

/// By how much a caller's clock may be ahead.
const MAX_AHEAD: Duration = Duration::from_mins(5);

/// Keep what a source last sent to all
///
/// What is older than what is kept, or as old, changes nothing. Not an event: it has no position. For keys of the
/// account, members, the owner and operators.
#[utoipa::path(put, path = "/api/v1/accounts/{account}/sources/{handle}/broadcast",
    operation_id = "updateLastBroadcast", tag = "sources",
    params(("account" = String, Path, description = "An identifier or a name"),
        ("handle" = String, Path, description = "What the source is called")),
    request_body = Broadcast, responses((status = 204, description = "The newest is kept")))]
pub async fn broadcast(
    State(state): State<SharedState>,
    Path((account, handle)): Path<(String, String)>,
    command: JsonCommand<Broadcast, MAX_LARGE_BODY>,
) -> Result<StatusCode, ApiError> {
    let account = state.authorize(command.caller, Permission::ManageSources, &account).await?;
    let now = state.tenure.clock().now();
    let at = command.body.at.unwrap_or(now);
    if at > now.after(MAX_AHEAD) {
        return Err(ApiError::field("at", "at most five minutes ahead: nothing later would ever be kept"));
    }
    state
        .tenure
        .update_last_broadcast(&command.context, account.id, &handle, at, &command.body.payload)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}
