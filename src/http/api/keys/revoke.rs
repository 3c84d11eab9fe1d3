//! `DELETE /api/v1/accounts/{account}/keys/{id}`: revokes an API key.

use axum::extract::{Path, State};
use axum::response::Response;

use crate::http::error::{ApiError, id};
use crate::http::extract::EmptyCommand;
use crate::http::policy::Permission;
use crate::http::policy::authorize;
use crate::http::response::done;
use crate::http::state::SharedState;
use crate::operations::Resource;

/// Revoke an API key
///
/// Also ends the previous secret of a rotated key. Revoking a revoked key changes nothing. For the account's owner and
/// operators.
#[utoipa::path(delete, path = "/api/v1/accounts/{account}/keys/{id}", operation_id = "revokeKey", tag = "keys",
    params(("account" = String, Path, description = "The account's identifier or name"),
        ("id" = String, Path, description = "The key's identifier")),
    responses((status = 204, description = "The API key is revoked")))]
pub async fn revoke(
    State(state): State<SharedState>,
    Path((account, key)): Path<(String, String)>,
    command: EmptyCommand,
) -> Result<Response, ApiError> {
    let account = authorize(&state, command.caller, Permission::Administer, &account).await?;
    let key = id(&key, Resource::ApiKey)?;
    Ok(done(state.tenure.revoke_api_key(&command.context, Some(account.id), key).await?.checkpoint))
}
