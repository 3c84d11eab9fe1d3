//! `DELETE /api/v1/sources/{handle}`: deletes a source and its pipes.

use axum::extract::{Path, State};
use axum::response::Response;

use super::named::Named;
use super::shared::Org;
use crate::http::error::ApiError;
use crate::http::extract::EmptyCommand;
use crate::http::policy::{Permission, acting_account};
use crate::http::response::done;
use crate::http::state::SharedState;

/// Delete a source and its pipes
///
/// For API keys of the account, its members and owner, and operators who name the account in `org`.
#[utoipa::path(delete, path = "/api/v1/sources/{handle}", operation_id = "ppzDeleteSource", tag = "ppz",
    params(("handle" = String, Path, description = "The source's handle"), Org),
    responses((status = 204, description = "The source is deleted")))]
pub async fn delete_source(
    State(state): State<SharedState>,
    Path(handle): Path<String>,
    org: Org,
    command: EmptyCommand,
) -> Result<Response, ApiError> {
    let account =
        acting_account(&state, command.caller, Permission::ManageSources, org.org.as_deref()).await?.id;
    let named = Named { source: &handle, ..Named::default() };
    let deleted = state.tenure.delete_source(&command.context, account, &handle).await;
    Ok(done(deleted.map_err(|error| named.in_error(error))?.checkpoint))
}
