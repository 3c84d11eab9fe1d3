//! The client address of a request: the peer's, or the one that a trusted proxy reports.

use std::net::{IpAddr, SocketAddr};

use axum::extract::{ConnectInfo, FromRequestParts};
use axum::http::HeaderMap;
use axum::http::request::Parts;
use ipnet::IpNet;

use super::error::ApiError;
use super::state::SharedState;

/// The client address of a request.
#[derive(Clone, Copy, Debug)]
pub struct Origin(pub IpAddr);

impl Origin {
    /// The address behind a peer: while the current address is a trusted proxy, the one before it in `X-Forwarded-For`.
    #[must_use]
    pub fn behind(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> Self {
        let is_trusted =
            |address: IpAddr| trusted.iter().any(|network| network.contains(&address.to_canonical()));
        // `::ffff:10.0.0.1` must match the networks, and count, as 10.0.0.1.
        let mut origin = peer.to_canonical();
        let named: Vec<&str> = headers
            .get_all("x-forwarded-for")
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .collect();
        // From the right: each proxy appends its peer, and what stands left of an untrusted one may be forged.
        for address in named.into_iter().rev() {
            if !is_trusted(origin) {
                break;
            }
            match address.trim().parse::<IpAddr>() {
                Ok(address) => origin = address.to_canonical(),
                Err(_) => break,
            }
        }
        Self(origin)
    }

    /// The client address of a request with these extensions and headers.
    #[must_use]
    pub fn of(parts: &axum::http::Extensions, headers: &HeaderMap, trusted: &[IpNet]) -> Self {
        let peer = parts.get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(peer)| peer.ip());
        // `serve` sets the peer of every request; 0.0.0.0 is only a fallback.
        Self::behind(peer.unwrap_or(IpAddr::from([0, 0, 0, 0])), headers, trusted)
    }
}

impl FromRequestParts<SharedState> for Origin {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &SharedState) -> Result<Self, ApiError> {
        Ok(Self::of(&parts.extensions, &parts.headers, &state.settings.trusted_proxies))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(peer: &str, forwarded: &[&str], trusted: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for value in forwarded {
            headers.append("x-forwarded-for", value.parse().unwrap());
        }
        let trusted: Vec<IpNet> = trusted.iter().map(|network| network.parse().unwrap()).collect();
        Origin::behind(peer.parse().unwrap(), &headers, &trusted).0.to_string()
    }

    #[test]
    fn only_trusted_proxies_are_believed() {
        assert_eq!(origin("203.0.113.9", &["198.51.100.1"], &[]), "203.0.113.9");
        assert_eq!(origin("10.0.0.1", &["198.51.100.1"], &["10.0.0.0/8"]), "198.51.100.1");
        let chain = ["6.6.6.6, 198.51.100.1, 10.0.0.2"];
        assert_eq!(origin("10.0.0.1", &chain, &["10.0.0.0/8"]), "198.51.100.1", "not what the client says");
        assert_eq!(origin("10.0.0.1", &["6.6.6.6", "198.51.100.1"], &["10.0.0.0/8"]), "198.51.100.1");
        assert_eq!(origin("10.0.0.1", &["nonsense"], &["10.0.0.0/8"]), "10.0.0.1");
        assert_eq!(origin("::ffff:10.0.0.1", &["2001:db8::1"], &["10.0.0.0/8"]), "2001:db8::1");
    }
}
