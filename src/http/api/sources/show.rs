//! `GET /api/v1/accounts/{account}/sources/{handle}`: returns one source.

use axum::Json;
use axum::extract::{Path, State};

use super::SourceRecord;
use crate::http::api::sources::source_by_handle;
use crate::http::error::ApiError;
use crate::http::extract::AuthenticatedRead;
use crate::http::policy::Permission;
use crate::http::policy::authorize;
use crate::http::state::SharedState;

/// Get a source
///
/// For API keys of the account, its members and owner, and operators.
#[utoipa::path(get, path = "/api/v1/accounts/{account}/sources/{handle}", operation_id = "getSource",
    tag = "sources",
    params(("account" = String, Path, description = "The account's identifier or name"),
        ("handle" = String, Path, description = "The source's handle")),
    responses((status = 200, description = "The source", body = SourceRecord)))]
pub async fn show(
    State(state): State<SharedState>,
    read: AuthenticatedRead,
    Path((account, handle)): Path<(String, String)>,
) -> Result<Json<SourceRecord>, ApiError> {
    let account = authorize(&state, read.caller, Permission::Read, &account).await?;
    Ok(Json(source_by_handle(&state, account.id, &handle).await?.into()))
}
