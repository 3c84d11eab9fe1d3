//! `GET /api/v1/accounts/{account}/keys/{id}`: one key.

use axum::Json;
use axum::extract::{Path, State};

use super::KeyRecord;
use crate::http::error::{ApiError, id};
use crate::http::extract::AuthenticatedRead;
use crate::http::policy::Permission;
use crate::http::state::SharedState;
use crate::operations::Resource;

/// A key
///
/// For the account's owner and for operators.
#[utoipa::path(get, path = "/api/v1/accounts/{account}/keys/{id}", operation_id = "getKey", tag = "keys",
    params(("account" = String, Path, description = "An identifier or a name"),
        ("id" = String, Path, description = "The key's identifier")),
    responses((status = 200, description = "The key", body = KeyRecord)))]
pub async fn show(
    State(state): State<SharedState>,
    read: AuthenticatedRead,
    Path((account, key)): Path<(String, String)>,
) -> Result<Json<KeyRecord>, ApiError> {
    let account = state.authorize(read.caller, Permission::Administer, &account).await?;
    state.key_record(account.id, id(&key, Resource::ApiKey)?).await.map(Json)
}
