//! Error bodies: RFC 9457 on our own routes, the fixed formats of ppz's clients and of OAuth on theirs.

use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::{Json, http::HeaderMap};
use serde::Serialize;
use utoipa::ToSchema;

use super::error::ApiError;
use super::request_id::RequestId;
use crate::operations::{Refusal, Resource};

/// The error of a response and the headers to keep; none if the response is not an error.
pub fn error_of(response: &mut Response) -> Option<(ApiError, HeaderMap)> {
    let status = response.status();
    if !(status.is_client_error() || status.is_server_error()) {
        return None;
    }
    let error = response.extensions_mut().remove::<ApiError>();
    let error = error.unwrap_or_else(|| ApiError::of_status(status));
    // The body is replaced, so the headers that describe it go; the others (`Allow`, `RateLimit-*`) stay.
    let mut headers = std::mem::take(response.headers_mut());
    headers.remove(header::CONTENT_TYPE);
    headers.remove(header::CONTENT_LENGTH);
    if let ApiError::TooMany { retry_after } = error {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(retry_after));
    } else if error.status() == StatusCode::SERVICE_UNAVAILABLE {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(1));
    }
    challenge(&error, &mut headers);
    Some((error, headers))
}

/// Adds the `WWW-Authenticate` challenge of RFC 6750 §3.
fn challenge(error: &ApiError, headers: &mut HeaderMap) {
    let challenge = match error {
        ApiError::NoCredential => "Bearer realm=\"tenure\"",
        ApiError::BadCredential => {
            "Bearer realm=\"tenure\", error=\"invalid_token\", error_description=\"unknown, expired or revoked\""
        }
        ApiError::MisplacedCredential => "Bearer realm=\"tenure\", error=\"invalid_request\"",
        ApiError::Refused(Refusal::Forbidden) => "Bearer realm=\"tenure\", error=\"insufficient_scope\"",
        _ => return,
    };
    headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
}

/// An error on our own routes (RFC 9457, `application/problem+json`).
#[derive(Serialize, ToSchema)]
pub struct Problem {
    /// The kind of error, as a URN.
    #[serde(rename = "type")]
    #[schema(example = "urn:tenure:problem:account.not_found")]
    kind: String,
    /// The HTTP status in words.
    title: &'static str,
    /// The HTTP status, as in the status line.
    status: u16,
    /// What is wrong and what to do.
    detail: String,
    /// The stable code, for programs.
    #[schema(example = "account.not_found")]
    code: &'static str,
    /// The field at fault; absent if there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<String>,
    /// The identifier of the request, to quote when asking for help.
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<String>,
    /// What the request created the first time, when its response held a secret and cannot be repeated.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    record: Option<serde_json::Value>,
}

/// Middleware that renders errors as RFC 9457 problems.
pub async fn problem(request: Request, next: Next) -> Response {
    let request_id = request.extensions().get::<RequestId>().copied();
    render_problem(next.run(request).await, request_id)
}

fn render_problem(mut response: Response, request_id: Option<RequestId>) -> Response {
    let Some((error, headers)) = error_of(&mut response) else { return response };
    let problem = Problem {
        kind: format!("urn:tenure:problem:{}", error.code()),
        title: error.status().canonical_reason().unwrap_or("Error"),
        status: error.status().as_u16(),
        detail: error.detail().into_owned(),
        code: error.code(),
        field: error.blamed().map(str::to_owned),
        request_id: request_id.map(|id| id.to_string()),
        record: match &error {
            ApiError::GivenOnce(record) => Some(record.clone()),
            _ => None,
        },
    };
    let mut response = (error.status(), headers, Json(problem)).into_response();
    // `Json` sets application/json.
    let kind = HeaderValue::from_static("application/problem+json");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

/// An error on the routes for ppz's clients.
#[derive(Serialize, ToSchema)]
pub struct PpzError {
    error: PpzErrorBody,
}

/// The code and the message of an error.
#[derive(Serialize, ToSchema)]
pub struct PpzErrorBody {
    /// The stable code, for programs.
    #[schema(example = "E_NOT_FOUND")]
    code: &'static str,
    /// What is wrong and what to do.
    message: String,
}

fn ppz_code(error: &ApiError) -> &'static str {
    // ppz's clients expect a code of its own for each of these fields.
    match error.blamed() {
        Some("handle") => return "E_INVALID_HANDLE",
        Some("name") => return "E_INVALID_PIPE",
        Some("kind") => return "E_INVALID_KIND",
        _ => {}
    }
    match error {
        ApiError::NoCredential | ApiError::BadCredential => "E_INVALID_API_KEY",
        ApiError::InvalidOrg { .. } => "E_INVALID_ORG",
        ApiError::CrossSite => "E_FORBIDDEN",
        ApiError::TooMany { .. } => "E_RATE_LIMITED",
        ApiError::Unavailable | ApiError::EventsLost | ApiError::Internal => "E_UNAVAILABLE",
        ApiError::NoRoute => "E_NOT_FOUND",
        ApiError::Refused(refusal) | ApiError::Told { refusal, .. } => match refusal {
            Refusal::Forbidden | Refusal::LimitReached(_) => "E_FORBIDDEN",
            Refusal::NotFound(Resource::Source) => "E_SOURCE_NOT_FOUND",
            Refusal::NotFound(Resource::Pipe) => "E_PIPE_NOT_FOUND",
            Refusal::NotFound(_) => "E_NOT_FOUND",
            Refusal::HandleTaken => "E_SOURCE_TAKEN",
            Refusal::PipeNameTaken => "E_PIPE_TAKEN",
            Refusal::AlreadyMember => "E_ALREADY_MEMBER",
            Refusal::DuplicatePendingInvite => "E_DUPLICATE_INVITE",
            Refusal::InviteNotPending => "E_INVITE_NOT_PENDING",
            Refusal::Busy => "E_UNAVAILABLE",
            _ => "E_INVALID_REQUEST",
        },
        _ => "E_INVALID_REQUEST",
    }
}

/// How long a request on these routes may take.
const PPZ_TIMEOUT: Duration = Duration::from_millis(4_250);

/// Middleware that renders errors as ppz's clients expect them.
pub async fn ppz(request: Request, next: Next) -> Response {
    // The clients wait five seconds for an answer, and then do not know what happened.
    let answered = tokio::time::timeout(PPZ_TIMEOUT, next.run(request)).await;
    let response = answered.unwrap_or_else(|_| ApiError::Unavailable.into_response());
    render_ppz(response)
}

fn render_ppz(mut response: Response) -> Response {
    let Some((error, headers)) = error_of(&mut response) else { return response };
    let body = PpzError { error: PpzErrorBody { code: ppz_code(&error), message: error.sentence() } };
    (error.status(), headers, Json(body)).into_response()
}

/// What our own routes below `/api/v1` begin with; whatever else is asked for there, a client of ppz asks for it.
const OURS: &[&str] = &["accounts", "events", "users", "usernames"];

/// Middleware for errors that no table of routes has rendered: an unknown path, or a request that is refused before it is
/// routed. They get the format of the table that the path seems to belong to.
pub async fn by_path(request: Request, next: Next) -> Response {
    let request_id = request.extensions().get::<RequestId>().copied();
    let path = request.uri().path().to_owned();
    let response = next.run(request).await;
    if response.extensions().get::<ApiError>().is_none() {
        return response;
    }
    let first = path.strip_prefix("/api/v1/").and_then(|rest| rest.split('/').next());
    match first {
        // Ours, although ppz's clients call others below it.
        Some("keys") if path.ends_with("/verify") => render_problem(response, request_id),
        Some(first) if !OURS.contains(&first) => render_ppz(response),
        None if path.starts_with("/oauth/") => render_oauth(response, false),
        _ => render_problem(response, request_id),
    }
}

/// An OAuth error (RFC 6749 §5.2, RFC 8628 §3.5).
#[derive(Serialize, ToSchema)]
pub struct OauthError {
    /// The error code that the RFC registers.
    #[schema(example = "invalid_request")]
    error: &'static str,
    /// What is wrong and what to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    error_description: Option<String>,
}

impl OauthError {
    /// An error with a description.
    pub fn new(error: &'static str, description: impl Into<String>) -> Self {
        Self { error, error_description: Some(description.into()) }
    }

    /// The response: always status 400.
    pub fn bad_request(self) -> Response {
        (StatusCode::BAD_REQUEST, Json(self)).into_response()
    }
}

fn oauth_code(error: &ApiError, polls: bool) -> (StatusCode, &'static str) {
    match error {
        ApiError::NoCredential | ApiError::BadCredential => (StatusCode::UNAUTHORIZED, "invalid_client"),
        // A device that gets anything else than `slow_down` stops polling.
        ApiError::TooMany { .. } if polls => (StatusCode::BAD_REQUEST, "slow_down"),
        ApiError::TooMany { .. } => (StatusCode::TOO_MANY_REQUESTS, "temporarily_unavailable"),
        ApiError::Unavailable | ApiError::EventsLost | ApiError::Refused(Refusal::Busy) => {
            (StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable")
        }
        ApiError::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "server_error"),
        ApiError::Method | ApiError::NoRoute => (error.status(), "invalid_request"),
        ApiError::Refused(Refusal::Forbidden) | ApiError::CrossSite => {
            (StatusCode::FORBIDDEN, "access_denied")
        }
        _ => (StatusCode::BAD_REQUEST, "invalid_request"),
    }
}

/// Middleware that renders errors as OAuth's flat object. An error that a handler rendered itself (a JSON body) stays.
///
/// `polling_path` is the token endpoint; its clients only understand `slow_down` for "too many" (RFC 8628 §3.5).
pub async fn oauth(State(polling_path): State<&'static str>, request: Request, next: Next) -> Response {
    let polls = request.uri().path() == polling_path;
    let response = next.run(request).await;
    let shaped = response.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind == "application/json")
        && response.extensions().get::<ApiError>().is_none();
    if shaped {
        return response;
    }
    render_oauth(response, polls)
}

fn render_oauth(mut response: Response, polls: bool) -> Response {
    let Some((error, headers)) = error_of(&mut response) else { return response };
    let (status, code) = oauth_code(&error, polls);
    (status, headers, Json(OauthError::new(code, error.sentence()))).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_succeed_later_is_503_for_every_client() {
        for error in [ApiError::Unavailable, ApiError::EventsLost, ApiError::Refused(Refusal::Busy)] {
            assert_eq!(error.status(), StatusCode::SERVICE_UNAVAILABLE, "{error:?}");
            assert_eq!(ppz_code(&error), "E_UNAVAILABLE", "{error:?}");
            let expected = (StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable");
            assert_eq!(oauth_code(&error, false), expected, "{error:?}");
        }
    }
}
