//! Answers to writes: with the position from which on everybody can read what was written.

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

/// The position of a write.
pub const POSITION: HeaderName = HeaderName::from_static("tenure-position");

/// For answers that hold a secret or somebody's data: nobody keeps them.
pub const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

/// A write with a body.
pub fn written<T: Serialize>(status: StatusCode, position: Checkpoint, body: T) -> Response {
    (status, [(POSITION, position.to_string())], Json(body)).into_response()
}

/// A write without a body.
pub fn done(position: Checkpoint) -> Response {
    (StatusCode::NO_CONTENT, [(POSITION, position.to_string())]).into_response()
}

/// Gives a JSON answer to a GET its `ETag`, and answers 304 to who has it already (RFC 9110 §13).
pub async fn etag(request: Request, next: Next) -> Response {
    let conditional = request.headers().get(header::IF_NONE_MATCH).cloned();
    // The answer to a HEAD has lost its body already.
    let reads = *request.method() == Method::GET;
    let response = next.run(request).await;
    let json = response.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind == "application/json");
    // What is written while it is read has no length yet, and is not held to be hashed.
    let is_whole = response.body().size_hint().exact().is_some();
    if !reads || !json || !is_whole || response.status() != StatusCode::OK {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    // A body of ours is whole in memory already: nothing can go wrong with it.
    let Ok(body) = body.collect().await else { return StatusCode::INTERNAL_SERVER_ERROR.into_response() };
    let body = body.to_bytes();
    let digest = Sha256::digest(&body);
    let tag = format!("\"{}\"", URL_SAFE_NO_PAD.encode(&digest[..16]));
    let known = conditional.as_ref().and_then(|value| value.to_str().ok()).is_some_and(|value| {
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
