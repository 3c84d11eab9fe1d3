//! `POST /api/v1/users/{user}/tokens`: issues a bearer token.

use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::Response;
use secrecy::ExposeSecret as _;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::TokenRecord;
use crate::http::error::{ApiError, or_not_found};
use crate::http::extract::JsonCommand;
use crate::http::policy::authorize_self;
use crate::http::response::{NO_STORE, written};
use crate::http::state::SharedState;
use crate::operations::Resource;
use crate::projections::bearer_tokens::BearerToken;

/// The lifetime of a new bearer token.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct IssueToken {
    /// Lifetime in seconds, at most ten years [default: the same as for tokens of the device flow].
    #[schema(minimum = 1, maximum = 315_360_000)]
    #[serde(default, deserialize_with = "crate::http::json_integer::whole")]
    pub expires_in: Option<u64>,
}

/// The longest lifetime of a token, in seconds: ten years.
const MAX_SECONDS: u64 = 315_360_000;

/// A bearer token with its secret, which is shown only once.
#[derive(Serialize, ToSchema)]
pub struct TokenSecret {
    /// The token's record.
    #[serde(flatten)]
    pub token: TokenRecord,
    /// The secret, to be sent as the bearer credential. It is not stored and cannot be shown again.
    pub access_token: String,
}

/// Issue a bearer token
///
/// The response is the only place where the secret is shown; repeating the request with the same idempotency key
/// returns 409 with the record. For the user and operators.
#[utoipa::path(post, path = "/api/v1/users/{user}/tokens", operation_id = "issueToken", tag = "tokens",
    params(("user" = String, Path, description = "`me`, or the user's identifier or username")),
    request_body = IssueToken,
    responses((status = 201, description = "The bearer token and its secret", body = TokenSecret)))]
pub async fn issue(
    State(state): State<SharedState>,
    Path(user): Path<String>,
    command: JsonCommand<IssueToken>,
) -> Result<Response, ApiError> {
    let user = authorize_self(&state, command.caller, &user).await?;
    if command.body.expires_in.is_some_and(|seconds| !(1..=MAX_SECONDS).contains(&seconds)) {
        return Err(ApiError::field("expires_in", "1 to 315360000 seconds"));
    }
    let ttl = command.body.expires_in.map_or(state.settings.token_ttl, Duration::from_secs);
    let done = state.tenure.issue_bearer_token(&command.context, user, ttl).await?;
    // Built from the committed event: a failed read here would lose the only copy of the secret.
    let made = done.made(BearerToken::issued);
    let (id, secret) = done.answer;
    let token: TokenRecord = match made {
        Some(token) => token.into(),
        None => {
            or_not_found(state.tenure.reader().bearer_token_by_id(id).await, Resource::BearerToken)?.into()
        }
    };
    // No secret: the request is a repetition, and the secret was shown the first time.
    let Some(secret) = secret else {
        return Err(ApiError::GivenOnce(serde_json::to_value(token).map_err(|_| ApiError::Internal)?));
    };
    let body = TokenSecret { token, access_token: secret.expose_secret().to_owned() };
    let mut response = written(StatusCode::CREATED, done.checkpoint, body);
    // The body holds a secret, which caches must not store.
    response.headers_mut().insert(header::CACHE_CONTROL, NO_STORE);
    Ok(response)
}
