//! Request identifiers: in the response, in the log, and in the events that the request leads to.

use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;

use super::state::SharedState;
use crate::ids::CorrelationId;

/// The header with the request identifier, in requests (a UUID; any other value is replaced) and in responses.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The identifier of a request, stored in events as their correlation.
pub type RequestId = CorrelationId;

/// Middleware that takes the request identifier from the client or generates one, and logs and measures each request.
///
/// The log names the route and never the path, because paths may hold secrets.
pub async fn identify(State(state): State<SharedState>, mut request: Request, next: Next) -> Response {
    let given = request.headers().get(X_REQUEST_ID).and_then(|value| value.to_str().ok());
    let id: RequestId = given
        .and_then(|text| text.parse().ok())
        .unwrap_or_else(|| CorrelationId::new(state.tenure.clock().now(), &*state.tenure.entropy()));
    // Before the handler runs: commands read it as their correlation, and problems return it.
    request.extensions_mut().insert(id);
    let stopwatch = crate::clock::Stopwatch::start();
    let method = request.method().clone();
    let route = request.extensions().get::<axum::extract::MatchedPath>().cloned();
    let mut response = next.run(request).await;
    let route = route.as_ref().map_or("-", |route| route.as_str());
    let (status, took) = (response.status().as_u16(), stopwatch.elapsed());
    metrics::histogram!("tenure_http_seconds", "route" => route.to_owned(), "status" => status.to_string())
        .record(took);
    // Client errors at debug level: any client could fill the log with them.
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
