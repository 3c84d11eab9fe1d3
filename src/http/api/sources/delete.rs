//! `DELETE /api/v1/accounts/{account}/sources/{handle}`: deletes a source and its pipes.

use axum::extract::{Path, State};
use axum::response::Response;

use crate::http::error::ApiError;
use crate::http::extract::EmptyCommand;
use crate::http::policy::Permission;
use crate::http::policy::authorize;
use crate::http::response::done;
use crate::http::state::SharedState;

/// Delete a source and its pipes
///
/// Frees the handle; a later source with the same handle is a different source. For API keys of the account, its
/// members and owner, and operators.
#[utoipa::path(delete, path = "/api/v1/accounts/{account}/sources/{handle}", operation_id = "deleteSource",
    tag = "sources",
    params(("account" = String, Path, description = "The account's identifier or name"),
        ("handle" = String, Path, description = "The source's handle")),
    responses((status = 204, description = "The source is deleted")))]
pub async fn delete(
    State(state): State<SharedState>,
    Path((account, handle)): Path<(String, String)>,
    command: EmptyCommand,
) -> Result<Response, ApiError> {
    let account = authorize(&state, command.caller, Permission::ManageSources, &account).await?;
    Ok(done(state.tenure.delete_source(&command.context, account.id, &handle).await?.checkpoint))
}
