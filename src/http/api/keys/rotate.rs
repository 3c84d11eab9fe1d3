//! `POST /api/v1/accounts/{account}/keys/{id}/rotate`: a key gets another secret.

use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use utoipa::ToSchema;

use super::{KeyRecord, KeySecret};
use crate::http::error::{ApiError, id};
use crate::http::extract::JsonCommand;
use crate::http::policy::Permission;
use crate::http::response::NO_STORE;
use crate::http::state::SharedState;
use crate::operations::Resource;
use crate::projections::api_keys::ApiKey;

/// How to rotate.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RotateKey {
    /// For how many seconds the former secret stays good.
    #[schema(minimum = 0, maximum = 2_592_000, default = 86_400)]
    #[serde(default, deserialize_with = "crate::http::json_integer::whole")]
    pub grace_seconds: Option<u64>,
}

/// For how many seconds the former secret stays good when nothing is said: a day.
const DEFAULT_GRACE: u64 = 86_400;

/// Give a key another secret
///
/// For the account's owner and for operators. The secret is in this answer and nowhere else.
#[utoipa::path(post, path = "/api/v1/accounts/{account}/keys/{id}/rotate", operation_id = "rotateKey", tag = "keys",
    params(("account" = String, Path, description = "An identifier or a name"),
        ("id" = String, Path, description = "The key's identifier")),
    request_body = RotateKey, responses((status = 200, description = "The key and its secret", body = KeySecret)))]
pub async fn rotate(
    State(state): State<SharedState>,
    Path((account, key)): Path<(String, String)>,
    command: JsonCommand<RotateKey>,
) -> Result<Response, ApiError> {
    let account = state.authorize(command.caller, Permission::Administer, &account).await?;
    let (key, grace) = (
        id(&key, Resource::ApiKey)?,
        Duration::from_secs(command.body.grace_seconds.unwrap_or(DEFAULT_GRACE)),
    );
    // What the rotation leaves as it is.
    let before = state.key_record(account.id, key).await?;
    let rotated = state.tenure.rotate_api_key(&command.context, Some(account.id), key, grace).await;
    let done = rotated.map_err(|error| ApiError::from(error).renamed("grace", "grace_seconds"))?;
    let made = done.made(ApiKey::rotated).map(|key_prefix| KeyRecord { key_prefix, ..before });
    let mut response = state.key_secret(account.id, StatusCode::OK, done, made).await?;
    response.headers_mut().insert(axum::http::header::CACHE_CONTROL, NO_STORE);
    Ok(response)
}
