//! `POST /api/v1/accounts/{account}/keys`: mints an API key.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use utoipa::ToSchema;

use super::{KeyRecord, KeySecret};
use crate::clock::Timestamp;
use crate::http::api::keys::key_secret;
use crate::http::error::ApiError;
use crate::http::extract::JsonCommand;
use crate::http::policy::Permission;
use crate::http::policy::authorize;
use crate::http::response::NO_STORE;
use crate::http::state::SharedState;
use crate::projections::api_keys::ApiKey;

/// The label and lifetime of a new API key.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MintKey {
    /// A label for display, at most 200 characters [default: empty].
    #[serde(default)]
    #[schema(
        pattern = "^[^\\u0000-\\u001f\\u007f-\\u009f\\u061c\\u200e\\u200f\\u202a-\\u202e\\u2066-\\u2069]*$",
        max_length = 200
    )]
    pub label: String,
    /// Lifetime in seconds, at most ten years. If absent, the key is valid until it is revoked.
    #[schema(minimum = 1, maximum = 315_360_000)]
    #[serde(default, deserialize_with = "crate::http::json_integer::whole")]
    pub expires_in: Option<u64>,
}

/// The longest lifetime of a key, in seconds: ten years.
const MAX_SECONDS: u64 = 315_360_000;

/// Mint an API key
///
/// The response is the only place where the secret is shown; repeating the request with the same idempotency key
/// returns 409 with the record. For the account's owner and operators. A key that an operator mints for an account to
/// which they do not belong is recorded as created by the owner.
#[utoipa::path(post, path = "/api/v1/accounts/{account}/keys", operation_id = "mintKey", tag = "keys",
    params(("account" = String, Path, description = "The account's identifier or name")),
    request_body = MintKey, responses((status = 201, description = "The API key and its secret", body = KeySecret)))]
pub async fn mint(
    State(state): State<SharedState>,
    Path(account): Path<String>,
    command: JsonCommand<MintKey>,
) -> Result<Response, ApiError> {
    let account = authorize(&state, command.caller, Permission::Administer, &account).await?;
    let MintKey { label, expires_in } = &command.body;
    if expires_in.is_some_and(|seconds| !(1..=MAX_SECONDS).contains(&seconds)) {
        return Err(ApiError::field("expires_in", "1 to 315360000 seconds"));
    }
    let end = expires_in.map(|seconds| in_seconds(state.tenure.clock().now(), seconds));
    let done = state.tenure.mint_api_key(&command.context, account.id, label, end, None).await?;
    let made = done.made(ApiKey::minted).map(KeyRecord::from);
    let mut response = key_secret(&state, account.id, StatusCode::CREATED, done, made).await?;
    // The body holds a secret, which caches must not store.
    response.headers_mut().insert(axum::http::header::CACHE_CONTROL, NO_STORE);
    Ok(response)
}

fn in_seconds(now: Timestamp, seconds: u64) -> Timestamp {
    now.after(std::time::Duration::from_secs(seconds))
}
