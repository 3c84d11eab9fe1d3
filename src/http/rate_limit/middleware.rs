//! Middleware that limits anonymous routes and writes the `RateLimit-*` headers.

use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::status::RateLimitStatus;
use crate::http::origin::Origin;
use crate::http::state::SharedState;

const LIMIT: HeaderName = HeaderName::from_static("ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("ratelimit-remaining");
const RESET: HeaderName = HeaderName::from_static("ratelimit-reset");

/// Middleware that rate-limits requests by client address and reports the remaining quota.
pub async fn by_address(State(state): State<SharedState>, request: Request, next: Next) -> Response {
    let from = Origin::of(request.extensions(), request.headers(), &state.settings.trusted_proxies);
    let status = RateLimitStatus::default();
    let response = match state.rate_limits.anonymous(from.0, &status) {
        Ok(()) => next.run(request).await,
        Err(error) => error.into_response(),
    };
    with_headers(response, &status)
}

/// Reports the remaining quota of the caller. The extractor of the caller counts the request, because only it knows
/// which credential is good.
pub async fn by_caller(mut request: Request, next: Next) -> Response {
    let status = RateLimitStatus::default();
    request.extensions_mut().insert(status.clone());
    with_headers(next.run(request).await, &status)
}

fn with_headers(mut response: Response, status: &RateLimitStatus) -> Response {
    if let Some(quota) = status.take() {
        let headers = response.headers_mut();
        // A refusal has the limit 0: the size of its bucket is not known here.
        if quota.limit > 0 {
            headers.insert(LIMIT, HeaderValue::from(quota.limit));
        }
        headers.insert(REMAINING, HeaderValue::from(quota.remaining));
        headers.insert(RESET, HeaderValue::from(quota.reset));
    }
    response
}
