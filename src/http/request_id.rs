//! An identifier for each request: in its answer, in the log, and in the events that it leads to.

use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;

use super::state::SharedState;
use crate::ids::CorrelationId;

/// The header, in requests (a UUID; anything else is replaced) and in answers.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The identifier of a request.
pub type RequestId = CorrelationId;

/// Takes the caller's identifier if it is a UUID, else makes one; and writes a line of log for each request, which
/// names the route and never the path, because paths may hold secrets.
pub async fn identify(State(state): State<SharedState>, mut request: Request, next: Next) -> Response {
    let given = request.headers().get(X_REQUEST_ID).and_then(|value| value.to_str().ok());
    let id: RequestId = given
        .and_then(|text| text.parse().ok())
        .unwrap_or_else(|| CorrelationId::new(state.tenure.clock().now(), &*state.tenure.entropy()));
    request.extensions_mut().insert(id);
    let stopwatch = crate::clock::Stopwatch::start();
    let method = request.method().clone();
    let route = request.extensions().get::<axum::extract::MatchedPath>().cloned();
    let mut response = next.run(request).await;
    let route = route.as_ref().map_or("-", |route| route.as_str());
    let (status, took) = (response.status().as_u16(), stopwatch.elapsed());
    metrics::histogram!("tenure_http_seconds", "route" => route.to_owned(), "status" => status.to_string())
        .record(took);
    if status >= 500 {
        tracing::warn!(%method, route, status, ?took, request_id = %id, "request");
    } else {
        tracing::debug!(%method, route, status, ?took, request_id = %id, "request");
    }
    if let Ok(value) = HeaderValue::from_str(&id.to_string()) {
        response.headers_mut().insert(X_REQUEST_ID, value);
    }
    response
}
