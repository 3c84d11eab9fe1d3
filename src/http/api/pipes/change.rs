//! `PUT /api/v1/accounts/{account}/sources/{handle}/pipes/{name}/retention`: what a pipe keeps.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;

use super::{Keeps, PipeRecord};
use crate::http::error::ApiError;
use crate::http::extract::JsonCommand;
use crate::http::policy::Permission;
use crate::http::response::written;
use crate::http::state::SharedState;

/// Change what a pipe keeps
///
/// As a whole: what is not said is left to the server from then on. For keys of the account, members, the owner and
/// operators.
#[utoipa::path(put, path = "/api/v1/accounts/{account}/sources/{handle}/pipes/{name}/retention",
    operation_id = "changePipeRetention", tag = "pipes",
    params(("account" = String, Path, description = "An identifier or a name"),
        ("handle" = String, Path, description = "What the source is called"),
        ("name" = String, Path, description = "What the pipe is called")),
    request_body = Keeps, responses((status = 200, description = "The pipe", body = PipeRecord)))]
pub async fn change(
    State(state): State<SharedState>,
    Path((account, handle, name)): Path<(String, String, String)>,
    command: JsonCommand<Keeps>,
) -> Result<Response, ApiError> {
    let account = state.authorize(command.caller, Permission::ManageSources, &account).await?;
    let keeps = command.body.into();
    // What the change leaves as it is.
    let before = state.pipe(account.id, &handle, &name).await?;
    let done =
        state.tenure.change_pipe_retention(&command.context, account.id, &handle, &name, keeps).await?;
    let (ttl_seconds, max_msgs, max_bytes) = state.resolved(keeps);
    let pipe = PipeRecord { id: Some(done.answer), ttl_seconds, max_msgs, max_bytes, ..before };
    Ok(written(StatusCode::OK, done.checkpoint, pipe))
}
