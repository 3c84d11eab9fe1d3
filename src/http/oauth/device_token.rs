//! `POST /oauth/device/token`: a device polls for its token (RFC 8628 §3.4, §3.5).

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::parameters::DeviceParameters;
use crate::context::Actor;
use crate::dispatch::DispatchError;
use crate::http::error::ApiError;
use crate::http::error_body::OauthError;
use crate::http::request_id::RequestTrace;
use crate::http::response::UNCACHED;
use crate::http::state::{AppState, SharedState};
use crate::operations::Refusal;
use crate::projections::QueryError;

/// The path of the route.
pub const PATH: &str = "/oauth/device/token";

/// The grant type of the device flow (RFC 8628 §3.4).
pub const GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:device_code";

/// One poll of a device.
#[derive(Deserialize, ToSchema)]
#[allow(dead_code)] // describes what `DeviceParameters` reads
pub struct TokenRequest {
    /// The device code that the device was issued.
    #[schema(min_length = 1)]
    pub device_code: String,
    /// The grant type of RFC 8628; may be left out.
    #[schema(pattern = "^urn:ietf:params:oauth:grant-type:device_code$", required = false)]
    pub grant_type: String,
    /// The client identifier; ignored.
    pub client_id: Option<String>,
}

/// The bearer token that the device is issued.
#[derive(Serialize, ToSchema)]
#[allow(clippy::struct_field_names)] // RFC 6749 names them
pub struct AccessToken {
    /// The token to send as `Authorization: Bearer`. A secret.
    pub access_token: String,
    /// Always `bearer`.
    pub token_type: &'static str,
    /// The TTL of the token, in seconds.
    pub expires_in: u64,
}

/// Poll for a token
///
/// A device code yields at most one token, however many clients poll with it.
#[utoipa::path(post, path = "/oauth/device/token", operation_id = "pollForToken", tag = "oauth", security(()),
    request_body(content((TokenRequest = "application/x-www-form-urlencoded"), (TokenRequest = "application/json"))),
    responses((status = 200, description = "The token", body = AccessToken)))]
pub async fn device_token(
    State(state): State<SharedState>,
    trace: RequestTrace,
    DeviceParameters(parameters): DeviceParameters,
) -> Result<Response, ApiError> {
    if parameters.get("grant_type")?.is_some_and(|grant| grant != GRANT_TYPE) {
        let right = "grant_type must be urn:ietf:params:oauth:grant-type:device_code";
        return Ok(OauthError::new("unsupported_grant_type", right).bad_request());
    }
    let device_code = parameters.secret("device_code")?;
    // Before the code is consumed: a poll that comes too soon must change nothing.
    if polls_too_soon(&state, &device_code).await? {
        return Ok(OauthError::new("slow_down", "polling too fast; wait for the interval between two polls")
            .bad_request());
    }
    let ttl = state.settings.token_ttl;
    let context = trace.context(Actor::System);
    let consumed = state.tenure.consume_device_code_for_token(&context, &device_code, ttl).await;
    let (error, description) = match consumed {
        Ok(done) => {
            let access_token = done.answer.2.expose_secret().to_owned();
            let token = AccessToken { access_token, token_type: "bearer", expires_in: ttl.as_secs() };
            return Ok((UNCACHED, Json(token)).into_response());
        }
        Err(DispatchError::Refused(Refusal::NotFound(_))) => {
            ("invalid_grant", "the device code is unknown or already used; request a new one")
        }
        Err(DispatchError::Refused(Refusal::Expired)) => {
            ("expired_token", "the device code has expired; request a new one")
        }
        Err(DispatchError::Refused(Refusal::Denied)) => ("access_denied", "the user denied the request"),
        Err(DispatchError::Refused(Refusal::Pending)) => {
            ("authorization_pending", "the user has not approved the device code yet; keep polling")
        }
        Err(DispatchError::Refused(refusal @ Refusal::LimitReached(_))) => {
            let description = format!("{refusal}; revoke one and start again");
            return Ok(OauthError::new("access_denied", &description).bad_request());
        }
        Err(error) => return Err(error.into()),
    };
    Ok(OauthError::new(error, description).bad_request())
}

/// Whether a device with a pending code polls before its interval has passed.
async fn polls_too_soon(state: &AppState, device_code: &SecretString) -> Result<bool, ApiError> {
    let now = state.tenure.clock().now();
    match state.tenure.reader().device_code(device_code.expose_secret()).await {
        // Only a pending code is held to the interval: an approved one yields its token at once.
        Ok(code) if code.is_living(now) && code.verified_at.is_none() => {
            Ok(!state.tenure.poll_in_time(code.id, state.settings.poll_interval).await?)
        }
        Ok(_) | Err(QueryError::NotFound) => Ok(false),
        Err(error) => Err(error.into()),
    }
}
