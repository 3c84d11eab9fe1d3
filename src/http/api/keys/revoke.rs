//! `DELETE /api/v1/accounts/{account}/keys/{id}`: a key is good for nothing from now on.

use axum::extract::{Path, State};
use axum::response::Response;

use crate::http::error::{ApiError, id};
use crate::http::extract::EmptyCommand;
use crate::http::policy::Permission;
use crate::http::response::done;
use crate::http::state::SharedState;
use crate::operations::Resource;

/// Revoke a key
///
/// For the account's owner and for operators; again, nothing changes.
#[utoipa::path(delete, path = "/api/v1/accounts/{account}/keys/{id}", operation_id = "revokeKey", tag = "keys",
    params(("account" = String, Path, description = "An identifier or a name"),
        ("id" = String, Path, description = "The key's identifier")),
    responses((status = 204, description = "It is revoked")))]
pub async fn revoke(
    State(state): State<SharedState>,
    Path((account, key)): Path<(String, String)>,
    command: EmptyCommand,
) -> Result<Response, ApiError> {
    let account = state.authorize(command.caller, Permission::Administer, &account).await?;
    let key = id(&key, Resource::ApiKey)?;
    Ok(done(state.tenure.revoke_api_key(&command.context, Some(account.id), key).await?.checkpoint))
}
