//! `POST /api/v1/users/{user}/tokens`: a token is issued.

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
use crate::http::response::{NO_STORE, written};
use crate::http::state::SharedState;
use crate::operations::Resource;
use crate::projections::bearer_tokens::BearerToken;

/// A token to issue.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct IssueToken {
    /// For how many seconds it is good [default: as the device flow's], at most ten years.
    #[schema(minimum = 1, maximum = 315_360_000)]
    #[serde(default, deserialize_with = "crate::http::json_integer::whole")]
    pub expires_in: Option<u64>,
}

/// The longest life of a token, in seconds.
const MAX_SECONDS: u64 = 315_360_000;

/// A token and, this once, its secret.
#[derive(Serialize, ToSchema)]
pub struct TokenSecret {
    /// The record.
    #[serde(flatten)]
    pub token: TokenRecord,
    /// What to send; it is not kept and not shown again.
    pub access_token: String,
}

/// Issue a token
///
/// For the person and for operators. The secret is in this answer and nowhere else: the same request again is answered
/// 409 with the record.
#[utoipa::path(post, path = "/api/v1/users/{user}/tokens", operation_id = "issueToken", tag = "tokens",
    params(("user" = String, Path, description = "`me`, an identifier or a username")),
    request_body = IssueToken, responses((status = 201, description = "The token and its secret", body = TokenSecret)))]
pub async fn issue(
    State(state): State<SharedState>,
    Path(user): Path<String>,
    command: JsonCommand<IssueToken>,
) -> Result<Response, ApiError> {
    let user = state.authorize_self(command.caller, &user).await?;
    if command.body.expires_in.is_some_and(|seconds| !(1..=MAX_SECONDS).contains(&seconds)) {
        return Err(ApiError::field("expires_in", "1 to 315360000 seconds"));
    }
    let ttl = command.body.expires_in.map_or(state.settings.token_ttl, Duration::from_secs);
    let done = state.tenure.issue_bearer_token(&command.context, user, ttl).await?;
    // From what was committed, so that nothing keeps the secret from its caller.
    let made = done.made(BearerToken::issued);
    let (id, secret) = done.answer;
    let token: TokenRecord = match made {
        Some(token) => token.into(),
        None => {
            or_not_found(state.tenure.reader().bearer_token_by_id(id).await, Resource::BearerToken)?.into()
        }
    };
    let Some(secret) = secret else {
        return Err(ApiError::GivenOnce(serde_json::to_value(token).map_err(|_| ApiError::Internal)?));
    };
    let body = TokenSecret { token, access_token: secret.expose_secret().to_owned() };
    let mut response = written(StatusCode::CREATED, done.checkpoint, body);
    response.headers_mut().insert(header::CACHE_CONTROL, NO_STORE);
    Ok(response)
}
