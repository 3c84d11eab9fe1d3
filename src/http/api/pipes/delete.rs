//! `DELETE /api/v1/accounts/{account}/sources/{handle}/pipes/{name}`: a pipe ends.

use axum::extract::{Path, State};
use axum::response::Response;

use crate::http::error::ApiError;
use crate::http::extract::EmptyCommand;
use crate::http::policy::Permission;
use crate::http::response::done;
use crate::http::state::SharedState;

/// Delete a pipe
///
/// Those that a source has by itself are not found. For keys of the account, members, the owner and operators.
#[utoipa::path(delete, path = "/api/v1/accounts/{account}/sources/{handle}/pipes/{name}",
    operation_id = "deletePipe", tag = "pipes",
    params(("account" = String, Path, description = "An identifier or a name"),
        ("handle" = String, Path, description = "What the source is called"),
        ("name" = String, Path, description = "What the pipe is called")),
    responses((status = 204, description = "It is deleted")))]
pub async fn delete(
    State(state): State<SharedState>,
    Path((account, handle, name)): Path<(String, String, String)>,
    command: EmptyCommand,
) -> Result<Response, ApiError> {
    let account = state.authorize(command.caller, Permission::ManageSources, &account).await?;
    Ok(done(state.tenure.delete_pipe(&command.context, account.id, &handle, &name).await?.checkpoint))
}
