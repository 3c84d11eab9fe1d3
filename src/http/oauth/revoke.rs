//! `POST /oauth/revoke`: the holder of a bearer token revokes it (RFC 7009).

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use secrecy::ExposeSecret as _;
use serde::Deserialize;
use utoipa::ToSchema;

use super::parameters::Parameters;
use crate::http::caller::{Caller, Via};
use crate::http::error::ApiError;
use crate::http::error_body::OauthError;
use crate::http::request_id::RequestTrace;
use crate::http::state::SharedState;
use crate::projections::QueryError;

/// The token to revoke.
#[derive(Deserialize, ToSchema)]
#[allow(dead_code)] // describes what `Parameters` reads
pub struct RevocationRequest {
    /// The bearer token.
    #[schema(min_length = 1)]
    pub token: String,
    /// The presumed type of the token; ignored.
    pub token_type_hint: Option<String>,
    /// The client identifier; ignored.
    pub client_id: Option<String>,
}

/// Revoke a bearer token
///
/// Holding the token is enough. An unknown, expired or revoked token gets the same response. API keys are refused with
/// `unsupported_token_type`: the owner of the account revokes them.
#[utoipa::path(post, path = "/oauth/revoke", operation_id = "revoke", tag = "oauth", security(()),
    request_body(content((RevocationRequest = "application/x-www-form-urlencoded"),
        (RevocationRequest = "application/json"))),
    responses((status = 200, description = "The token is not valid, or no longer valid")))]
pub async fn revoke(
    State(state): State<SharedState>,
    trace: RequestTrace,
    parameters: Parameters,
) -> Result<Response, ApiError> {
    let token = parameters.secret("token")?;
    // Ignored, but they must not be repeated (RFC 6749 §3.2).
    for unneeded in ["token_type_hint", "client_id"] {
        parameters.get(unneeded)?;
    }
    let sentinel = &state.tenure.rules().sentinel;
    let text = token.expose_secret();
    if text.starts_with(&format!("{sentinel}_")) && !text.starts_with(&format!("{sentinel}_oauth_")) {
        let error = OauthError::new(
            "unsupported_token_type",
            "API keys cannot be revoked here; ask the owner of the account to revoke the key",
        );
        return Ok(error.bad_request());
    }
    let token = match state.tenure.lookup_bearer_token(&token).await {
        Ok(token) => token,
        // RFC 7009 §2.2: the client's aim is reached, so this is not an error.
        Err(QueryError::NotFound) => return Ok(StatusCode::OK.into_response()),
        Err(error) => return Err(error.into()),
    };
    let holder = Caller::Person { user: token.user_id, via: Via::Token(token.id) };
    state.tenure.revoke_bearer_token(&trace.of(holder.context()?), token.id).await?;
    Ok(StatusCode::OK.into_response())
}
