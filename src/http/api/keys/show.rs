//! `GET /api/v1/accounts/{account}/keys/{id}`: returns one API key.

use axum::Json;
use axum::extract::{Path, State};

use super::KeyRecord;
use crate::http::api::keys::key_record;
use crate::http::error::{ApiError, id};
use crate::http::extract::AuthenticatedRead;
use crate::http::policy::Permission;
use crate::http::policy::authorize;
use crate::http::state::SharedState;
use crate::operations::Resource;

/// Get an API key
///
/// For the account's owner and operators.
#[utoipa::path(get, path = "/api/v1/accounts/{account}/keys/{id}", operation_id = "getKey", tag = "keys",
    params(("account" = String, Path, description = "The account's identifier or name"),
        ("id" = String, Path, description = "The key's identifier")),
    responses((status = 200, description = "The API key", body = KeyRecord)))]
pub async fn show(
    State(state): State<SharedState>,
    read: AuthenticatedRead,
    Path((account, key)): Path<(String, String)>,
) -> Result<Json<KeyRecord>, ApiError> {
    let account = authorize(&state, read.caller, Permission::Administer, &account).await?;
    key_record(&state, account.id, id(&key, Resource::ApiKey)?).await.map(Json)
}
