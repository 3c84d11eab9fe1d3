//! `DELETE /api/v1/sources/{handle}`: a source ends with its pipes.

use axum::extract::{Path, State};
use axum::response::Response;

use super::shared::Org;
use crate::http::error::ApiError;
use crate::http::extract::{EmptyCommand, Parameters};
use crate::http::response::done;
use crate::http::state::SharedState;

/// Delete a source and its pipes
///
/// For keys of the account and whoever belongs to it.
#[utoipa::path(delete, path = "/api/v1/sources/{handle}", operation_id = "ppzDeleteSource", tag = "ppz",
    params(("handle" = String, Path, description = "What the source is called"), Org),
    responses((status = 204, description = "It is deleted")))]
pub async fn delete_source(
    State(state): State<SharedState>,
    Path(handle): Path<String>,
    Parameters(org): Parameters<Org>,
    command: EmptyCommand,
) -> Result<Response, ApiError> {
    let account = state.acting_account(command.caller, org.org.as_deref()).await?;
    Ok(done(state.tenure.delete_source(&command.context, account, &handle).await?.checkpoint))
}
