//! `DELETE /api/v1/sources/{handle}/pipes/{name}`: a pipe ends.

use axum::extract::{Path, State};
use axum::response::Response;

use super::shared::Org;
use crate::http::error::ApiError;
use crate::http::extract::{EmptyCommand, Parameters};
use crate::http::response::done;
use crate::http::state::SharedState;

/// Delete a pipe
///
/// For keys of the account and whoever belongs to it.
#[utoipa::path(delete, path = "/api/v1/sources/{handle}/pipes/{name}", operation_id = "ppzDeletePipe",
    tag = "ppz",
    params(("handle" = String, Path, description = "What the source is called"),
        ("name" = String, Path, description = "What the pipe is called"), Org),
    responses((status = 204, description = "It is deleted")))]
pub async fn delete_pipe(
    State(state): State<SharedState>,
    Path((handle, name)): Path<(String, String)>,
    Parameters(org): Parameters<Org>,
    command: EmptyCommand,
) -> Result<Response, ApiError> {
    let account = state.acting_account(command.caller, org.org.as_deref()).await?;
    Ok(done(state.tenure.delete_pipe(&command.context, account, &handle, &name).await?.checkpoint))
}
