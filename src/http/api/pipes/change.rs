//! `PUT /api/v1/accounts/{account}/sources/{handle}/pipes/{name}/retention`: changes the retention of a pipe.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;

use super::{PipeRecord, PipeRetention};
use crate::http::api::pipes::{pipe_by_name, resolved_retention};
use crate::http::error::ApiError;
use crate::http::extract::JsonCommand;
use crate::http::policy::Permission;
use crate::http::policy::authorize;
use crate::http::response::written;
use crate::http::state::SharedState;

/// Change the retention of a pipe
///
/// Replaces all limits: an absent field is reset to the server's default. For API keys of the account, its members and
/// owner, and operators.
#[utoipa::path(put, path = "/api/v1/accounts/{account}/sources/{handle}/pipes/{name}/retention",
    operation_id = "changePipeRetention", tag = "pipes",
    params(("account" = String, Path, description = "The account's identifier or name"),
        ("handle" = String, Path, description = "The source's handle"),
        ("name" = String, Path, description = "The pipe's name")),
    request_body = PipeRetention, responses((status = 200, description = "The pipe", body = PipeRecord)))]
pub async fn change(
    State(state): State<SharedState>,
    Path((account, handle, name)): Path<(String, String, String)>,
    command: JsonCommand<PipeRetention>,
) -> Result<Response, ApiError> {
    let account = authorize(&state, command.caller, Permission::ManageSources, &account).await?;
    let keeps = command.body.into();
    // Supplies the fields that the change keeps, so that the response needs no read after the write.
    let before = pipe_by_name(&state, account.id, &handle, &name).await?;
    let done =
        state.tenure.change_pipe_retention(&command.context, account.id, &handle, &name, keeps).await?;
    let (ttl_seconds, max_msgs, max_bytes) = resolved_retention(&state, keeps);
    let pipe = PipeRecord { id: Some(done.answer), ttl_seconds, max_msgs, max_bytes, ..before };
    Ok(written(StatusCode::OK, done.checkpoint, pipe))
}
