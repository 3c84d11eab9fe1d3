//! `POST /api/v1/keys/{id}/revoke`: revokes an API key.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;

use super::named::Named;
use crate::http::api::keys::KeyRecord;
use crate::http::error::{ApiError, id, or_not_found};
use crate::http::extract::EmptyCommand;
use crate::http::policy::Permission;
use crate::http::policy::authorize_account;
use crate::http::response::written;
use crate::http::state::SharedState;
use crate::ids::ApiKeyId;
use crate::operations::Resource;

/// Revoke an API key
///
/// Revoking a revoked key changes nothing. For the owner of the key's account and operators.
#[utoipa::path(post, path = "/api/v1/keys/{id}/revoke", operation_id = "ppzRevokeKey", tag = "ppz",
    params(("id" = String, Path, description = "The key's identifier")),
    responses((status = 200, description = "The revoked API key", body = KeyRecord)))]
pub async fn revoke_key(
    State(state): State<SharedState>,
    Path(key): Path<String>,
    command: EmptyCommand,
) -> Result<Response, ApiError> {
    let named = Named { key: &key, ..Named::default() };
    let id: ApiKeyId = id(&key, Resource::ApiKey).map_err(|error| named.in_error(error))?;
    let reader = state.tenure.reader();
    let found = or_not_found(reader.api_key(id).await, Resource::ApiKey);
    let record = found.map_err(|error| named.in_error(error))?;
    // "Account not found" would reveal that the key exists: a key of another or a closed account is itself not found.
    let hidden = || named.in_error(ApiError::not_found(Resource::ApiKey));
    let account = or_not_found(reader.account(record.account_id).await, Resource::ApiKey);
    let account = account.map_err(|error| named.in_error(error))?;
    let account = authorize_account(&state, command.caller, Permission::Administer, account)
        .await
        .map_err(|error| if error.status() == StatusCode::NOT_FOUND { hidden() } else { error })?;
    let done = state.tenure.revoke_api_key(&command.context, Some(account.id), id).await?;
    let record = or_not_found(reader.api_key(id).await, Resource::ApiKey)?;
    Ok(written(StatusCode::OK, done.checkpoint, KeyRecord::from(record)))
}
