//! `DELETE /api/v1/accounts/{account}/sources/{handle}`: a source ends with its pipes.

use axum::extract::{Path, State};
use axum::response::Response;

use crate::http::error::ApiError;
use crate::http::extract::EmptyCommand;
use crate::http::policy::Permission;
use crate::http::response::done;
use crate::http::state::SharedState;

/// Delete a source and its pipes
///
/// A later source of that handle is another one. For keys of the account, members, the owner and operators.
#[utoipa::path(delete, path = "/api/v1/accounts/{account}/sources/{handle}", operation_id = "deleteSource",
    tag = "sources",
    params(("account" = String, Path, description = "An identifier or a name"),
        ("handle" = String, Path, description = "What the source is called")),
    responses((status = 204, description = "It is deleted")))]
pub async fn delete(
    State(state): State<SharedState>,
    Path((account, handle)): Path<(String, String)>,
    command: EmptyCommand,
) -> Result<Response, ApiError> {
    let account = state.authorize(command.caller, Permission::ManageSources, &account).await?;
    Ok(done(state.tenure.delete_source(&command.context, account.id, &handle).await?.checkpoint))
}
