//! Request identifiers and traces: in the response, in the log, and in the events that the request leads to.

use std::convert::Infallible;

use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;

use tracing::Instrument as _;

use super::state::SharedState;
use crate::context::{Actor, Context};
use crate::ids::CorrelationId;
use crate::trace_context::TraceParent;

/// The header with the request identifier, in requests (a UUID; any other value is replaced) and in responses.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The identifier of a request, stored in events as their correlation.
pub type RequestId = CorrelationId;

/// The header with the trace of the caller (W3C Trace Context).
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// What ties the events and the log lines of a request together.
#[derive(Clone, Copy, Debug, Default)]
pub struct RequestTrace {
    id: Option<RequestId>,
    trace: Option<TraceParent>,
}

impl RequestTrace {
    /// The context of a command of this request.
    #[must_use]
    pub fn context(self, actor: Actor) -> Context {
        self.of(Context::of(actor))
    }

    /// The same context, of a command of this request.
    #[must_use]
    pub fn of(self, context: Context) -> Context {
        Context { correlation: self.id, trace: self.trace, ..context }
    }
}

impl<S: Sync> FromRequestParts<S> for RequestTrace {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(parts.extensions.get().copied().unwrap_or_default())
    }
}

/// The trace of the caller. A header that is repeated or malformed is ignored, as the standard wants it (§3.2.2.5).
fn trace_of(headers: &HeaderMap) -> Option<TraceParent> {
    let mut values = headers.get_all(TRACEPARENT).iter();
    let only = values.next().filter(|_| values.next().is_none());
    only?.to_str().ok()?.parse().ok()
}

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
    let trace = trace_of(request.headers());
    request.extensions_mut().insert(RequestTrace { id: Some(id), trace });
    // Names the trace on each line that is logged for the request.
    let span = match trace {
        Some(trace) => tracing::error_span!("traced", trace_id = trace.trace_id()),
        None => tracing::Span::none(),
    };
    let stopwatch = crate::clock::Stopwatch::start();
    let method = request.method().clone();
    let route = request.extensions().get::<axum::extract::MatchedPath>().cloned();
    let mut response = next.run(request).instrument(span.clone()).await;
    let _entered = span.enter();
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
