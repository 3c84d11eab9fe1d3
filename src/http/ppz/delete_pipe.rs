//! `DELETE /api/v1/sources/{handle}/pipes/{name}`: deletes a pipe.

use axum::extract::{Path, State};
use axum::response::Response;

use super::named::Named;
use super::shared::Org;
use crate::http::error::ApiError;
use crate::http::extract::EmptyCommand;
use crate::http::policy::{Permission, acting_account};
use crate::http::response::done;
use crate::http::state::SharedState;

/// Delete a pipe
///
/// Automatic pipes cannot be deleted (404). For API keys of the account, its members and owner, and operators who name
/// the account in `org`.
#[utoipa::path(delete, path = "/api/v1/sources/{handle}/pipes/{name}", operation_id = "ppzDeletePipe",
    tag = "ppz",
    params(("handle" = String, Path, description = "The source's handle"),
        ("name" = String, Path, description = "The pipe's name"), Org),
    responses((status = 204, description = "The pipe is deleted")))]
pub async fn delete_pipe(
    State(state): State<SharedState>,
    Path((handle, name)): Path<(String, String)>,
    org: Org,
    command: EmptyCommand,
) -> Result<Response, ApiError> {
    let account =
        acting_account(&state, command.caller, Permission::ManageSources, org.org.as_deref()).await?.id;
    let named = Named { source: &handle, pipe: &name, ..Named::default() };
    let deleted = state.tenure.delete_pipe(&command.context, account, &handle, &name).await;
    Ok(done(deleted.map_err(|error| named.in_error(error))?.checkpoint))
}
