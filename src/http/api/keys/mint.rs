//! `POST /api/v1/accounts/{account}/keys`: a key is minted.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use utoipa::ToSchema;

use super::{KeyRecord, KeySecret};
use crate::clock::Timestamp;
use crate::http::error::ApiError;
use crate::http::extract::JsonCommand;
use crate::http::policy::Permission;
use crate::http::response::NO_STORE;
use crate::http::state::SharedState;
use crate::projections::api_keys::ApiKey;

/// A key to mint.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MintKey {
    /// What to call it.
    #[serde(default)]
    #[schema(
        pattern = "^[^\\u0000-\\u001f\\u007f-\\u009f\\u061c\\u200e\\u200f\\u202a-\\u202e\\u2066-\\u2069]*$",
        max_length = 200
    )]
    pub label: String,
    /// For how many seconds it is good, at most ten years; without: until it is revoked.
    #[schema(minimum = 1, maximum = 315_360_000)]
    #[serde(default, deserialize_with = "crate::http::json_integer::whole")]
    pub expires_in: Option<u64>,
}

/// The longest life of a key, in seconds.
const MAX_SECONDS: u64 = 315_360_000;

/// Mint a key
///
/// For the owner and for operators who belong to the account. The secret is in this answer and nowhere else: the same
/// request again is answered 409 with the record.
#[utoipa::path(post, path = "/api/v1/accounts/{account}/keys", operation_id = "mintKey", tag = "keys",
    params(("account" = String, Path, description = "An identifier or a name")),
    request_body = MintKey, responses((status = 201, description = "The key and its secret", body = KeySecret)))]
pub async fn mint(
    State(state): State<SharedState>,
    Path(account): Path<String>,
    command: JsonCommand<MintKey>,
) -> Result<Response, ApiError> {
    let account = state.authorize(command.caller, Permission::Administer, &account).await?;
    let MintKey { label, expires_in } = &command.body;
    if expires_in.is_some_and(|seconds| !(1..=MAX_SECONDS).contains(&seconds)) {
        return Err(ApiError::field("expires_in", "1 to 315360000 seconds"));
    }
    let end = expires_in.map(|seconds| in_seconds(state.tenure.clock().now(), seconds));
    let done = state.tenure.mint_api_key(&command.context, account.id, label, end, None).await?;
    let made = done.made(ApiKey::minted).map(KeyRecord::from);
    let mut response = state.key_secret(account.id, StatusCode::CREATED, done, made).await?;
    response.headers_mut().insert(axum::http::header::CACHE_CONTROL, NO_STORE);
    Ok(response)
}

fn in_seconds(now: Timestamp, seconds: u64) -> Timestamp {
    now.after(std::time::Duration::from_secs(seconds))
}
