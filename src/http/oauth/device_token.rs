//! `POST /oauth/device/token`: a device polls for its token (RFC 8628 §3.4, §3.5).

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::parameters::Parameters;
use crate::context::{Actor, Context};
use crate::dispatch::DispatchError;
use crate::http::error::ApiError;
use crate::http::error_body::OauthError;
use crate::http::response::NO_STORE;
use crate::http::state::{AppState, SharedState};
use crate::operations::Refusal;
use crate::projections::QueryError;

/// The route.
pub const PATH: &str = "/oauth/device/token";

/// The grant of RFC 8628.
pub const GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:device_code";

/// A poll.
#[derive(Deserialize, ToSchema)]
#[allow(dead_code)] // describes what `Parameters` reads
pub struct TokenRequest {
    /// The device code.
    #[schema(min_length = 1)]
    pub device_code: String,
    /// The grant of RFC 8628, if it is said.
    #[schema(pattern = "^urn:ietf:params:oauth:grant-type:device_code$", required = false)]
    pub grant_type: String,
    /// The client's identifier.
    pub client_id: Option<String>,
}

/// A token.
#[derive(Serialize, ToSchema)]
#[allow(clippy::struct_field_names)] // RFC 6749 names them
pub struct Token {
    /// What to send as `Authorization: Bearer`; a secret.
    pub access_token: String,
    /// `bearer`.
    pub token_type: &'static str,
    /// For how many seconds it is good.
    pub expires_in: u64,
}

/// Poll for a token
///
/// At most one token for a device code, however many poll.
#[utoipa::path(post, path = "/oauth/device/token", operation_id = "pollForToken", tag = "oauth", security(()),
    request_body(content((TokenRequest = "application/x-www-form-urlencoded"), (TokenRequest = "application/json"))),
    responses((status = 200, description = "The token", body = Token)))]
pub async fn device_token(
    State(state): State<SharedState>,
    parameters: Parameters,
) -> Result<Response, ApiError> {
    if parameters.get("grant_type")?.is_some_and(|grant| grant != GRANT_TYPE) {
        return Err(ApiError::field("grant_type", "urn:ietf:params:oauth:grant-type:device_code"));
    }
    let device_code = parameters.secret("device_code")?;
    if state.polls_too_soon(&device_code).await? {
        return Ok(OauthError::new("slow_down", "polls must be the advertised interval apart").bad_request());
    }
    let ttl = state.settings.token_ttl;
    let context = Context::of(Actor::System);
    let consumed = state.tenure.consume_device_code_for_token(&context, &device_code, ttl).await;
    let (error, description) = match consumed {
        Ok(done) => {
            let access_token = done.answer.2.expose_secret().to_owned();
            let token = Token { access_token, token_type: "bearer", expires_in: ttl.as_secs() };
            return Ok(([(header::CACHE_CONTROL, NO_STORE)], Json(token)).into_response());
        }
        Err(DispatchError::Refused(Refusal::NotFound(_))) => {
            ("invalid_grant", "the device code is unknown or used up")
        }
        Err(DispatchError::Refused(Refusal::Expired)) => ("expired_token", "the device code has expired"),
        Err(DispatchError::Refused(Refusal::Denied)) => ("access_denied", "the person has said no"),
        Err(DispatchError::Refused(Refusal::Pending)) => {
            ("authorization_pending", "nobody has approved the device code yet")
        }
        Err(DispatchError::Refused(refusal @ Refusal::LimitReached(_))) => {
            let description = format!("{refusal}; revoke one, and the device may ask again");
            return Ok(OauthError::new("access_denied", &description).bad_request());
        }
        Err(error) => return Err(error.into()),
    };
    Ok(OauthError::new(error, description).bad_request())
}

impl AppState {
    /// Whether a device whose code is pending polls sooner than it may.
    async fn polls_too_soon(&self, device_code: &SecretString) -> Result<bool, ApiError> {
        let now = self.tenure.clock().now();
        match self.tenure.reader().device_code(device_code.expose_secret()).await {
            Ok(code) if code.is_living(now) && code.verified_at.is_none() => {
                Ok(!self.tenure.poll_in_time(code.id, self.settings.poll_interval).await?)
            }
            Ok(_) | Err(QueryError::NotFound) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}
