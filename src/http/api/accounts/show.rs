//! `GET /api/v1/accounts/{account}`: one tenant.

use axum::Json;
use axum::extract::{Path, State};

use super::AccountRecord;
use crate::http::error::ApiError;
use crate::http::extract::AuthenticatedRead;
use crate::http::policy::Permission;
use crate::http::state::SharedState;

/// An account
///
/// For its members, its owner, its keys, and operators; for anybody else it is not found.
#[utoipa::path(get, path = "/api/v1/accounts/{account}", operation_id = "getAccount", tag = "accounts",
    params(("account" = String, Path, description = "An identifier or a name")),
    responses((status = 200, description = "The account", body = AccountRecord)))]
pub async fn show(
    State(state): State<SharedState>,
    read: AuthenticatedRead,
    Path(account): Path<String>,
) -> Result<Json<AccountRecord>, ApiError> {
    Ok(Json(state.authorize(read.caller, Permission::Read, &account).await?.into()))
}
