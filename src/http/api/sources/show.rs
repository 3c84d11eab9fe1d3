//! `GET /api/v1/accounts/{account}/sources/{handle}`: one source.

use axum::Json;
use axum::extract::{Path, State};

use super::SourceRecord;
use crate::http::error::ApiError;
use crate::http::extract::AuthenticatedRead;
use crate::http::policy::Permission;
use crate::http::state::SharedState;

/// A source
///
/// For keys of the account, members, the owner and operators.
#[utoipa::path(get, path = "/api/v1/accounts/{account}/sources/{handle}", operation_id = "getSource",
    tag = "sources",
    params(("account" = String, Path, description = "An identifier or a name"),
        ("handle" = String, Path, description = "What the source is called")),
    responses((status = 200, description = "The source", body = SourceRecord)))]
pub async fn show(
    State(state): State<SharedState>,
    read: AuthenticatedRead,
    Path((account, handle)): Path<(String, String)>,
) -> Result<Json<SourceRecord>, ApiError> {
    let account = state.authorize(read.caller, Permission::Read, &account).await?;
    Ok(Json(state.source(account.id, &handle).await?.into()))
}
