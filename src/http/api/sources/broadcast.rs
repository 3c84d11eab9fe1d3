//! `PUT /api/v1/accounts/{account}/sources/{handle}/broadcast`: records the last broadcast of a source.

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
use crate::http::policy::authorize;
use crate::http::state::SharedState;

/// A broadcast that a source has sent.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateBroadcast {
    /// When the broadcast was sent [default: now]; at most five minutes in the future.
    pub at: Option<Timestamp>,
    /// The text of the broadcast, at most 64 KiB of UTF-8 without NUL.
    #[schema(pattern = "^[^\\u0000]*$", max_length = 65_536)]
    pub payload: String,
}

/// How far a caller's clock may be ahead.
const MAX_AHEAD: Duration = Duration::from_mins(5);

/// Update the last broadcast of a source
///
/// Changes nothing unless the broadcast is newer than the stored one. Broadcasts are not events, so the response has no
/// position. For API keys of the account, its members and owner, and operators.
#[utoipa::path(put, path = "/api/v1/accounts/{account}/sources/{handle}/broadcast",
    operation_id = "updateLastBroadcast", tag = "sources",
    params(("account" = String, Path, description = "The account's identifier or name"),
        ("handle" = String, Path, description = "The source's handle")),
    request_body = UpdateBroadcast, responses((status = 204, description = "The newest broadcast is stored")))]
pub async fn broadcast(
    State(state): State<SharedState>,
    Path((account, handle)): Path<(String, String)>,
    command: JsonCommand<UpdateBroadcast, MAX_LARGE_BODY>,
) -> Result<StatusCode, ApiError> {
    let account = authorize(&state, command.caller, Permission::ManageSources, &account).await?;
    let now = state.tenure.clock().now();
    let at = command.body.at.unwrap_or(now);
    // Only newer broadcasts are stored: one dated far ahead would block all that follow until then.
    if at > now.after(MAX_AHEAD) {
        return Err(ApiError::field("at", "at most five minutes ahead; later times block newer broadcasts"));
    }
    state
        .tenure
        .update_last_broadcast(&command.context, account.id, &handle, at, &command.body.payload)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}
