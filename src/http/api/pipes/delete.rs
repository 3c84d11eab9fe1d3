//! `DELETE /api/v1/accounts/{account}/sources/{handle}/pipes/{name}`: deletes a pipe.

use axum::extract::{Path, State};
use axum::response::Response;

use crate::http::error::ApiError;
use crate::http::extract::EmptyCommand;
use crate::http::policy::Permission;
use crate::http::policy::authorize;
use crate::http::response::done;
use crate::http::state::SharedState;

/// Delete a pipe
///
/// Automatic pipes cannot be deleted (404). For API keys of the account, its members and owner, and operators.
#[utoipa::path(delete, path = "/api/v1/accounts/{account}/sources/{handle}/pipes/{name}",
    operation_id = "deletePipe", tag = "pipes",
    params(("account" = String, Path, description = "The account's identifier or name"),
        ("handle" = String, Path, description = "The source's handle"),
        ("name" = String, Path, description = "The pipe's name")),
    responses((status = 204, description = "The pipe is deleted")))]
pub async fn delete(
    State(state): State<SharedState>,
    Path((account, handle, name)): Path<(String, String, String)>,
    command: EmptyCommand,
) -> Result<Response, ApiError> {
    let account = authorize(&state, command.caller, Permission::ManageSources, &account).await?;
    Ok(done(state.tenure.delete_pipe(&command.context, account.id, &handle, &name).await?.checkpoint))
}
