//! Responses: writes with their position, and reads with an `ETag`.

use axum::Json;
use axum::body::HttpBody as _;
use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http_body_util::BodyExt as _;
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::event_log::Checkpoint;

/// The header with the position of a write: a read at or after it sees the write.
pub const POSITION: HeaderName = HeaderName::from_static("tenure-position");

/// The `Cache-Control` of responses with a secret or personal data: no cache may store them.
pub const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

/// The headers of a response with a token (RFC 6749 §5.1).
pub const UNCACHED: [(HeaderName, HeaderValue); 2] =
    [(header::CACHE_CONTROL, NO_STORE), (header::PRAGMA, HeaderValue::from_static("no-cache"))];

/// The response to a write, with a body.
pub fn written<T: Serialize>(status: StatusCode, position: Checkpoint, body: T) -> Response {
    (status, [(POSITION, position.to_string())], Json(body)).into_response()
}

/// The response to a write, without a body: 204.
pub fn done(position: Checkpoint) -> Response {
    (StatusCode::NO_CONTENT, [(POSITION, position.to_string())]).into_response()
}

/// Middleware that adds an `ETag` to JSON responses to GET, and answers 304 if the client has it (RFC 9110 §13).
pub async fn etag(request: Request, next: Next) -> Response {
    let conditional: Vec<HeaderValue> =
        request.headers().get_all(header::IF_NONE_MATCH).iter().cloned().collect();
    // The response to a HEAD has already lost its body, so its hash would be wrong.
    let reads = *request.method() == Method::GET;
    let response = next.run(request).await;
    let json = response.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind == "application/json");
    // A streamed response has no length: hashing it would mean buffering all of it.
    let is_whole = response.body().size_hint().exact().is_some();
    if !reads || !json || !is_whole || response.status() != StatusCode::OK {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    // The body is whole in memory, so reading it cannot fail.
    let Ok(body) = body.collect().await else { return StatusCode::INTERNAL_SERVER_ERROR.into_response() };
    let body = body.to_bytes();
    let digest = Sha256::digest(&body);
    let tag = format!("\"{}\"", URL_SAFE_NO_PAD.encode(&digest[..16]));
    let known = conditional.iter().filter_map(|value| value.to_str().ok()).any(|value| {
        value.split(',').map(|one| one.trim().trim_start_matches("W/")).any(|one| one == tag || one == "*")
    });
    if let Ok(value) = HeaderValue::from_str(&tag) {
        parts.headers.insert(header::ETAG, value);
    }
    if known {
        parts.headers.remove(header::CONTENT_TYPE);
        parts.headers.remove(header::CONTENT_LENGTH);
        parts.status = StatusCode::NOT_MODIFIED;
        return Response::from_parts(parts, axum::body::Body::empty());
    }
    Response::from_parts(parts, body.into())
}
