//! `POST /api/v1/accounts/{account}/keys/{id}/rotate`: rotates the secret of an API key.

use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use utoipa::ToSchema;

use super::{KeyRecord, KeySecret};
use crate::http::api::keys::{key_record, key_secret};
use crate::http::error::{ApiError, id};
use crate::http::extract::JsonCommand;
use crate::http::policy::Permission;
use crate::http::policy::authorize;
use crate::http::response::NO_STORE;
use crate::http::state::SharedState;
use crate::operations::Resource;
use crate::projections::api_keys::ApiKey;

/// How long the previous secret stays valid.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RotateKey {
    /// How many seconds the previous secret stays valid, at most 30 days [default: 86400].
    #[schema(minimum = 0, maximum = 2_592_000)]
    #[serde(default, deserialize_with = "crate::http::json_integer::whole")]
    pub grace_seconds: Option<u64>,
}

/// How many seconds the previous secret stays valid by default: one day.
const DEFAULT_GRACE: u64 = 86_400;

/// Rotate an API key
///
/// Gives the key a new secret. The response is the only place where it is shown; repeating the request with the same
/// idempotency key returns 409 with the record. For the account's owner and operators.
#[utoipa::path(post, path = "/api/v1/accounts/{account}/keys/{id}/rotate", operation_id = "rotateKey", tag = "keys",
    params(("account" = String, Path, description = "The account's identifier or name"),
        ("id" = String, Path, description = "The key's identifier")),
    request_body = RotateKey,
    responses((status = 200, description = "The API key and its new secret", body = KeySecret)))]
pub async fn rotate(
    State(state): State<SharedState>,
    Path((account, key)): Path<(String, String)>,
    command: JsonCommand<RotateKey>,
) -> Result<Response, ApiError> {
    let account = authorize(&state, command.caller, Permission::Administer, &account).await?;
    let (key, grace) = (
        id(&key, Resource::ApiKey)?,
        Duration::from_secs(command.body.grace_seconds.unwrap_or(DEFAULT_GRACE)),
    );
    // Read first: these are the fields that the rotation keeps, and no read after it may fail and lose the secret.
    let before = key_record(state.tenure.reader(), account.id, key).await?;
    let rotated = state.tenure.rotate_api_key(&command.context, Some(account.id), key, grace).await;
    // The engine calls the field `grace`; in this request it is `grace_seconds`.
    let done = rotated.map_err(|error| ApiError::from(error).renamed("grace", "grace_seconds"))?;
    let made = done.made(ApiKey::rotated).map(|key_prefix| KeyRecord { key_prefix, ..before });
    let mut response = key_secret(&state, account.id, StatusCode::OK, done, made).await?;
    // The body holds a secret, which caches must not store.
    response.headers_mut().insert(axum::http::header::CACHE_CONTROL, NO_STORE);
    Ok(response)
}
