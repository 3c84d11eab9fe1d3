//! `GET /api/v1/accounts/{account}/sources/{handle}/pipes/{name}`: one pipe.

use axum::Json;
use axum::extract::{Path, State};

use super::PipeRecord;
use crate::http::error::ApiError;
use crate::http::extract::AuthenticatedRead;
use crate::http::policy::Permission;
use crate::http::state::SharedState;

/// A pipe that people have made
///
/// For keys of the account, members, the owner and operators.
#[utoipa::path(get, path = "/api/v1/accounts/{account}/sources/{handle}/pipes/{name}", operation_id = "getPipe",
    tag = "pipes",
    params(("account" = String, Path, description = "An identifier or a name"),
        ("handle" = String, Path, description = "What the source is called"),
        ("name" = String, Path, description = "What the pipe is called")),
    responses((status = 200, description = "The pipe", body = PipeRecord)))]
pub async fn show(
    State(state): State<SharedState>,
    read: AuthenticatedRead,
    Path((account, handle, name)): Path<(String, String, String)>,
) -> Result<Json<PipeRecord>, ApiError> {
    let account = state.authorize(read.caller, Permission::Read, &account).await?;
    state.pipe(account.id, &handle, &name).await.map(Json)
}
