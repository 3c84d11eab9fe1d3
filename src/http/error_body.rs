//! The shapes of errors: RFC 9457 on our own routes, the fixed ones of ppz's clients and of OAuth on theirs.

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

/// The error of an answer, and its headers that stay, if it is one.
pub fn error_of(response: &mut Response) -> Option<(ApiError, HeaderMap)> {
    let status = response.status();
    if !(status.is_client_error() || status.is_server_error()) {
        return None;
    }
    let error = response.extensions_mut().remove::<ApiError>();
    let error = error.unwrap_or_else(|| ApiError::of_status(status));
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

/// RFC 6750 §3: what a bearer needs to know.
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
    /// What kind of error it is, as a URN.
    #[serde(rename = "type")]
    #[schema(example = "urn:tenure:problem:account.not_found")]
    kind: String,
    /// The kind in words.
    title: &'static str,
    /// The HTTP status.
    status: u16,
    /// What was wrong and what would be right.
    detail: String,
    /// The stable code, for programs.
    #[schema(example = "account.not_found")]
    code: &'static str,
    /// The field to blame, if one is.
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<String>,
    /// What to quote when asking for help.
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<String>,
    /// What the request had made when it was first carried out, where its answer cannot be given again.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    record: Option<serde_json::Value>,
}

/// Errors as RFC 9457 problems.
pub async fn problem(request: Request, next: Next) -> Response {
    let request_id = request.extensions().get::<RequestId>().map(ToString::to_string);
    let mut response = next.run(request).await;
    let Some((error, headers)) = error_of(&mut response) else { return response };
    let problem = Problem {
        kind: format!("urn:tenure:problem:{}", error.code()),
        title: error.status().canonical_reason().unwrap_or("Error"),
        status: error.status().as_u16(),
        detail: error.detail().into_owned(),
        code: error.code(),
        field: error.blamed().map(str::to_owned),
        request_id,
        record: match &error {
            ApiError::GivenOnce(record) => Some(record.clone()),
            _ => None,
        },
    };
    let mut response = (error.status(), headers, Json(problem)).into_response();
    let kind = HeaderValue::from_static("application/problem+json");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

/// An error on the routes of ppz's clients.
#[derive(Serialize, ToSchema)]
pub struct PpzError {
    error: PpzErrorBody,
}

/// What is wrong.
#[derive(Serialize, ToSchema)]
pub struct PpzErrorBody {
    /// The stable code.
    #[schema(example = "E_NOT_FOUND")]
    code: &'static str,
    /// What was wrong and what would be right.
    message: String,
}

const fn ppz_code(error: &ApiError) -> &'static str {
    match error {
        ApiError::NoCredential | ApiError::BadCredential => "E_INVALID_API_KEY",
        ApiError::InvalidOrg => "E_INVALID_ORG",
        ApiError::TooMany { .. } => "E_RATE_LIMITED",
        ApiError::Unavailable | ApiError::Internal => "E_UNAVAILABLE",
        ApiError::NoRoute => "E_NOT_FOUND",
        ApiError::Refused(refusal) => match refusal {
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
            Refusal::Invalid(invalid) => match invalid.field.as_bytes() {
                b"handle" => "E_INVALID_HANDLE",
                b"name" => "E_INVALID_PIPE",
                b"kind" => "E_INVALID_KIND",
                _ => "E_INVALID_REQUEST",
            },
            _ => "E_INVALID_REQUEST",
        },
        _ => "E_INVALID_REQUEST",
    }
}

/// Errors as ppz's clients know them.
pub async fn ppz(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let Some((error, headers)) = error_of(&mut response) else { return response };
    let body = PpzError { error: PpzErrorBody { code: ppz_code(&error), message: error.sentence() } };
    (error.status(), headers, Json(body)).into_response()
}

/// An error of OAuth (RFC 6749 §5.2, RFC 8628 §3.5).
#[derive(Serialize, ToSchema)]
pub struct OauthError {
    /// The registered code.
    #[schema(example = "invalid_request")]
    error: &'static str,
    /// What was wrong and what would be right.
    #[serde(skip_serializing_if = "Option::is_none")]
    error_description: Option<String>,
}

impl OauthError {
    /// With a description.
    pub fn new(error: &'static str, description: impl Into<String>) -> Self {
        Self { error, error_description: Some(description.into()) }
    }

    /// As an answer: always 400.
    pub fn bad_request(self) -> Response {
        (StatusCode::BAD_REQUEST, Json(self)).into_response()
    }
}

/// Errors as OAuth's flat object; what a route has shaped itself (with a JSON body) stays as it is.
///
/// `polling_path` is the token endpoint, whose clients know one word for "too many" (RFC 8628 §3.5).
pub async fn oauth(State(polling_path): State<&'static str>, request: Request, next: Next) -> Response {
    let polls = request.uri().path() == polling_path;
    let mut response = next.run(request).await;
    let shaped = response.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind == "application/json")
        && response.extensions().get::<ApiError>().is_none();
    if shaped {
        return response;
    }
    let Some((error, headers)) = error_of(&mut response) else { return response };
    let (status, code) = match &error {
        ApiError::NoCredential | ApiError::BadCredential => (StatusCode::UNAUTHORIZED, "invalid_client"),
        ApiError::TooMany { .. } if polls => (StatusCode::BAD_REQUEST, "slow_down"),
        ApiError::TooMany { .. } => (StatusCode::TOO_MANY_REQUESTS, "temporarily_unavailable"),
        ApiError::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable"),
        ApiError::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "server_error"),
        ApiError::Method | ApiError::NoRoute => (error.status(), "invalid_request"),
        ApiError::Refused(Refusal::Forbidden) => (StatusCode::FORBIDDEN, "access_denied"),
        _ => (StatusCode::BAD_REQUEST, "invalid_request"),
    };
    (status, headers, Json(OauthError::new(code, error.sentence()))).into_response()
}
