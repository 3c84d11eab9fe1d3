//! `POST /oauth/revoke`: who holds a token ends it (RFC 7009).

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
use crate::http::state::SharedState;
use crate::projections::QueryError;

/// What to end.
#[derive(Deserialize, ToSchema)]
#[allow(dead_code)] // describes what `Parameters` reads
pub struct RevocationRequest {
    /// A bearer token.
    #[schema(min_length = 1)]
    pub token: String,
    /// What kind it is thought to be; not needed.
    pub token_type_hint: Option<String>,
    /// The client's identifier; not needed.
    pub client_id: Option<String>,
}

/// End a bearer token
///
/// Holding it is enough; a token that is good for nothing already is answered the same. API keys are their owner's to
/// revoke: `unsupported_token_type`.
#[utoipa::path(post, path = "/oauth/revoke", operation_id = "revoke", tag = "oauth", security(()),
    request_body(content((RevocationRequest = "application/x-www-form-urlencoded"),
        (RevocationRequest = "application/json"))),
    responses((status = 200, description = "It is good for nothing")))]
pub async fn revoke(State(state): State<SharedState>, parameters: Parameters) -> Result<Response, ApiError> {
    let token = parameters.secret("token")?;
    for unneeded in ["token_type_hint", "client_id"] {
        parameters.get(unneeded)?;
    }
    let sentinel = &state.tenure.rules().sentinel;
    let text = token.expose_secret();
    if text.starts_with(&format!("{sentinel}_")) && !text.starts_with(&format!("{sentinel}_oauth_")) {
        let error =
            OauthError::new("unsupported_token_type", "an API key is revoked by the owner of its account");
        return Ok(error.bad_request());
    }
    let token = match state.tenure.lookup_bearer_token(&token).await {
        Ok(token) => token,
        Err(QueryError::NotFound) => return Ok(StatusCode::OK.into_response()),
        Err(error) => return Err(error.into()),
    };
    let holder = Caller::Person { user: token.user_id, via: Via::Token(token.id) };
    state.tenure.revoke_bearer_token(&holder.context()?, token.id).await?;
    Ok(StatusCode::OK.into_response())
}
