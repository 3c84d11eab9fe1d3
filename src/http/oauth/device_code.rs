//! `POST /oauth/device/code`: a device requests a device code and a user code (RFC 8628 §3.1, §3.2).

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use secrecy::ExposeSecret as _;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::parameters::DeviceParameters;
use crate::context::Actor;
use crate::dispatch::DispatchError;
use crate::http::error::ApiError;
use crate::http::origin::Origin;
use crate::http::request_id::RequestTrace;
use crate::http::response::UNCACHED;
use crate::http::state::SharedState;
use crate::operations::Refusal;

/// How the device describes itself. Not verified.
#[derive(Deserialize, ToSchema)]
#[allow(dead_code)] // describes what `DeviceParameters` reads
pub struct DeviceAuthorizationRequest {
    /// The name of the device, shown to the user who approves it.
    #[schema(
        pattern = "^[^\\u0000-\\u001f\\u007f-\\u009f\\u061c\\u200e\\u200f\\u202a-\\u202e\\u2066-\\u2069]*$",
        max_length = 200
    )]
    pub client_name: Option<String>,
    /// The client identifier, shown if there is no name.
    #[schema(
        pattern = "^[^\\u0000-\\u001f\\u007f-\\u009f\\u061c\\u200e\\u200f\\u202a-\\u202e\\u2066-\\u2069]*$",
        max_length = 200
    )]
    pub client_id: Option<String>,
}

/// A device code and its user code.
#[derive(Serialize, ToSchema)]
pub struct DeviceAuthorization {
    /// The device code, which the device polls with. A secret.
    pub device_code: String,
    /// The user code, which the user types.
    #[schema(example = "WDJB-MJHT")]
    pub user_code: String,
    /// The URL of the page where the user types the code.
    pub verification_uri: String,
    /// The same URL with the user code filled in.
    pub verification_uri_complete: String,
    /// The shortest time between two polls, in seconds.
    pub interval: u64,
    /// The TTL of both codes, in seconds.
    pub expires_in: u64,
}

/// Request a device code and a user code
///
/// The number of live codes is limited, per address and in total. At the limit the response is 429: try again later.
#[utoipa::path(post, path = "/oauth/device/code", operation_id = "authorizeDevice", tag = "oauth", security(()),
    request_body(content((DeviceAuthorizationRequest = "application/x-www-form-urlencoded"),
        (DeviceAuthorizationRequest = "application/json"))),
    responses((status = 200, description = "The device code and the user code", body = DeviceAuthorization)))]
pub async fn device_code(
    State(state): State<SharedState>,
    Origin(from): Origin,
    trace: RequestTrace,
    DeviceParameters(parameters): DeviceParameters,
) -> Result<Response, ApiError> {
    let name = parameters.get("client_name")?.or(parameters.get("client_id")?).unwrap_or_default();
    let settings = &state.settings;
    let ttl = settings.device_code_ttl;
    let context = trace.context(Actor::System);
    let codes = match state.tenure.request_device_code(&context, ttl, name, from).await {
        Ok(done) => done.answer,
        Err(DispatchError::Refused(Refusal::LimitReached(_))) => {
            // After one TTL the codes that are live at the moment have expired, so there is room at the latest then.
            return Err(ApiError::TooMany { retry_after: ttl.as_secs().max(1) });
        }
        Err(error) => return Err(error.into()),
    };
    let verification_uri = format!("{}{}", settings.public_url, crate::http::pages::device_verify::PATH);
    let body = DeviceAuthorization {
        device_code: codes.device_code.expose_secret().to_owned(),
        verification_uri_complete: format!("{verification_uri}?user_code={}", codes.user_code),
        user_code: codes.user_code,
        verification_uri,
        interval: settings.poll_interval.as_secs().max(1),
        expires_in: ttl.as_secs(),
    };
    Ok((UNCACHED, Json(body)).into_response())
}
