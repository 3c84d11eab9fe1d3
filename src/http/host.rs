//! The `Host` header: exactly one, of the right form, in every HTTP/1.1 request (RFC 9112 §3.2).

use axum::extract::Request;
use axum::http::uri::Authority;
use axum::http::{Version, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use super::error::ApiError;

/// Middleware that refuses a request whose `Host` is missing, repeated or malformed. A proxy and this server could
/// otherwise take it for two different requests.
pub async fn require_one(request: Request, next: Next) -> Response {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let is_right = match (hosts.next(), hosts.next()) {
        (Some(host), None) => host.to_str().is_ok_and(is_host),
        // HTTP/1.0 has no such header.
        (None, None) => request.version() < Version::HTTP_11,
        _ => false,
    };
    if !is_right {
        return ApiError::field("host", "send exactly one Host header, as in `Host: example.org:8080`")
            .into_response();
    }
    next.run(request).await
}

/// Whether a text is a host with an optional port, or empty, which RFC 9112 allows.
fn is_host(text: &str) -> bool {
    let port = match text.rsplit_once(']') {
        Some((_, rest)) => rest,
        None => text.find(':').map_or("", |colon| &text[colon..]),
    };
    let is_port = |port: &str| {
        port.is_empty() || port.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok())
    };
    text.is_empty() || !text.contains(['@', ',']) && is_port(port) && text.parse::<Authority>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::is_host;

    #[test]
    fn hosts_are_names_or_addresses_with_an_optional_port() {
        for good in ["", "x", "example.org", "example.org:8080", "127.0.0.1:1", "[::1]", "[::1]:8080"] {
            assert!(is_host(good), "{good}");
        }
        for bad in [
            "a b",
            "user@example.org",
            "example.org/path",
            "http://example.org",
            "a,b",
            "[::1",
            "[::1]x",
            "a:b",
            "a:99999",
        ] {
            assert!(!is_host(bad), "{bad}");
        }
    }
}
