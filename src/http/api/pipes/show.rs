//! `GET /api/v1/accounts/{account}/sources/{handle}/pipes/{name}`: returns one pipe.

use axum::extract::{Path, State};

use super::PipeRecord;
use crate::http::api::pipes::pipe_of;
use crate::http::as_of::{AsOf, Shown, view};
use crate::http::error::ApiError;
use crate::http::extract::{AuthenticatedRead, Parameters};
use crate::http::policy::Permission;
use crate::http::state::SharedState;

/// Get a pipe
///
/// Automatic pipes are not found. For API keys of the account, its members and owner, and operators.
#[utoipa::path(get, path = "/api/v1/accounts/{account}/sources/{handle}/pipes/{name}", operation_id = "getPipe",
    tag = "pipes",
    params(("account" = String, Path, description = "The account's identifier or name"),
        ("handle" = String, Path, description = "The source's handle"),
        ("name" = String, Path, description = "The pipe's name"), AsOf),
    responses((status = 200, description = "The pipe", body = PipeRecord)))]
pub async fn show(
    State(state): State<SharedState>,
    read: AuthenticatedRead,
    Path((account, handle, name)): Path<(String, String, String)>,
    Parameters(as_of): Parameters<AsOf>,
) -> Result<Shown<PipeRecord>, ApiError> {
    let view = view(&state, read.caller, Permission::Read, &account, as_of).await?;
    let pipe = pipe_of(&state, &view, &handle, &name).await?;
    Ok(view.show(pipe))
}
