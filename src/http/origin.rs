//! The client address of a request: the peer's, or the one that a trusted proxy reports.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

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
    /// The address behind a peer: while the current address is a trusted proxy, the one before it in `X-Forwarded-For` or in
    /// `Forwarded` (RFC 7239).
    ///
    /// A proxy appends to one of the two and passes the other one on as the client sent it. If both are there and name
    /// different clients, neither is believed.
    #[must_use]
    pub fn behind(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> Self {
        // `::ffff:10.0.0.1` must match the networks, and count, as 10.0.0.1.
        let peer = peer.to_canonical();
        // What a client put in front of a proxy's entry must not spoil that entry, so nothing is refused as a whole.
        let values =
            |name| headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes()));
        let listed: Vec<Option<IpAddr>> = values("x-forwarded-for")
            .flat_map(|value| {
                value.split(',').filter(|entry| !entry.trim().is_empty()).map(node).collect::<Vec<_>>()
            })
            .collect();
        let forwarded: Vec<Option<IpAddr>> = values("forwarded")
            .flat_map(|value| elements(&value).into_iter().filter_map(for_of).map(node).collect::<Vec<_>>())
            .collect();
        let (one, other) = (client_of(peer, &listed, trusted), client_of(peer, &forwarded, trusted));
        Self(match (listed.is_empty(), forwarded.is_empty()) {
            (false, false) if one != other => peer,
            (true, false) => other,
            _ => one,
        })
    }

    /// The client address of a request with these extensions and headers.
    #[must_use]
    pub fn of(parts: &axum::http::Extensions, headers: &HeaderMap, trusted: &[IpNet]) -> Self {
        let peer = parts.get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(peer)| peer.ip());
        // `serve` sets the peer of every request; 0.0.0.0 is only a fallback.
        Self::behind(peer.unwrap_or(IpAddr::from([0, 0, 0, 0])), headers, trusted)
    }
}

/// Follows the proxies from the right: each one appends its peer, and what stands left of an untrusted one may be forged.
fn client_of(peer: IpAddr, named: &[Option<IpAddr>], trusted: &[IpNet]) -> IpAddr {
    let mut client = peer;
    for address in named.iter().rev() {
        if !trusted.iter().any(|network| network.contains(&client)) {
            break;
        }
        let Some(address) = address else { break };
        client = *address;
    }
    client
}

/// The address of a node: `192.0.2.1`, `192.0.2.1:4711`, `2001:db8::1`, `[2001:db8::1]` or `[2001:db8::1]:4711`. None for
/// `unknown`, for hidden names, and for what is malformed.
fn node(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let bracketed = text.strip_prefix('[').and_then(|rest| rest.split_once(']'));
    let address = match (bracketed, text.rsplit_once(':')) {
        (Some((address, port)), _) => {
            address.parse::<Ipv6Addr>().ok().filter(|_| is_port(port)).map(IpAddr::from)
        }
        // Several colons without brackets are an IPv6 address without a port.
        (None, Some((address, port))) if !address.contains(':') => {
            address.parse::<Ipv4Addr>().ok().filter(|_| is_port(&format!(":{port}"))).map(IpAddr::from)
        }
        _ => text.parse().ok(),
    };
    address.map(|address| address.to_canonical())
}

/// Whether this is nothing, or a colon with a port, which may be an obfuscated one (RFC 7239 §6).
fn is_port(text: &str) -> bool {
    let is_name = |port: &str| {
        port.starts_with('_')
            && port.bytes().all(|octet| octet.is_ascii_alphanumeric() || b"._-".contains(&octet))
    };
    text.is_empty() || text.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok() || is_name(port))
}

/// The elements of a value of `Forwarded`, one for each proxy.
fn elements(value: &str) -> Vec<&str> {
    // A quote that a client has left open would swallow what the proxies have appended.
    let quotes = value.matches('"').count() - value.matches("\\\"").count();
    if quotes.is_multiple_of(2) { split_unquoted(value, ',') } else { value.split(',').collect() }
}

/// The `for` of one element of `Forwarded`, such as `for="[2001:db8::1]:4711";proto=https`; none if it names nobody.
fn for_of(element: &str) -> Option<&str> {
    let pairs = split_unquoted(element, ';').into_iter();
    let value = pairs
        .filter_map(|pair| pair.split_once('='))
        .find(|(name, _)| name.trim().eq_ignore_ascii_case("for"));
    let value = value?.1.trim();
    // No character of an address needs an escape.
    Some(value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(value))
}

/// The parts of a text between separators that are not in quotes.
fn split_unquoted(text: &str, separator: char) -> Vec<&str> {
    let (mut parts, mut begin, mut is_quoted, mut is_escaped) = (Vec::new(), 0, false, false);
    for (place, character) in text.char_indices() {
        match character {
            _ if is_escaped => is_escaped = false,
            '\\' if is_quoted => is_escaped = true,
            '"' => is_quoted = !is_quoted,
            _ if character == separator && !is_quoted => {
                parts.push(&text[begin..place]);
                begin = place + separator.len_utf8();
            }
            _ => {}
        }
    }
    parts.push(&text[begin..]);
    parts
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

    #[test]
    fn entries_have_ports_and_brackets() {
        let ten = ["10.0.0.0/8"];
        for (entry, client) in [
            ("198.51.100.1:4711", "198.51.100.1"),
            (" 198.51.100.1 ", "198.51.100.1"),
            ("2001:db8::1", "2001:db8::1"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("[2001:db8::1]:443", "2001:db8::1"),
            ("[::ffff:198.51.100.1]:443", "198.51.100.1"),
            ("198.51.100.1:_hidden", "198.51.100.1"),
            ("unknown", "10.0.0.1"),
            ("_hidden", "10.0.0.1"),
            ("198.51.100.1:x", "10.0.0.1"),
            ("198.51.100.1:99999", "10.0.0.1"),
            ("[198.51.100.1]", "10.0.0.1"),
            ("[2001:db8::1", "10.0.0.1"),
            ("", "10.0.0.1"),
        ] {
            assert_eq!(origin("10.0.0.1", &[entry], &ten), client, "{entry}");
        }
    }

    fn forwarded(listed: Option<&str>, forwarded: &str) -> String {
        let mut headers = HeaderMap::new();
        headers.append("forwarded", forwarded.parse().unwrap());
        if let Some(listed) = listed {
            headers.append("x-forwarded-for", listed.parse().unwrap());
        }
        let trusted: Vec<IpNet> = vec!["10.0.0.0/8".parse().unwrap()];
        Origin::behind("10.0.0.1".parse().unwrap(), &headers, &trusted).0.to_string()
    }

    #[test]
    fn forwarded_is_read_as_rfc_7239_says_and_believed_only_if_nothing_contradicts_it() {
        for (value, client) in [
            ("for=198.51.100.1", "198.51.100.1"),
            ("for=198.51.100.1;proto=https;by=203.0.113.43", "198.51.100.1"),
            ("For=\"[2001:db8:cafe::17]:4711\"", "2001:db8:cafe::17"),
            ("for=6.6.6.6, for=198.51.100.1;by=\"a,b;c\", for=10.0.0.2", "198.51.100.1"),
            ("host=\"x;for=6.6.6.6\";for=198.51.100.1", "198.51.100.1"),
            ("for=unknown", "10.0.0.1"),
            ("for=\"_gazonk\"", "10.0.0.1"),
            ("proto=https", "10.0.0.1"),
            ("for=\"198.51.100.1", "10.0.0.1"),
            ("", "10.0.0.1"),
        ] {
            assert_eq!(forwarded(None, value), client, "{value}");
        }
        assert_eq!(forwarded(Some("198.51.100.1:1"), "for=198.51.100.1"), "198.51.100.1");
        assert_eq!(forwarded(Some("198.51.100.2"), "for=198.51.100.1"), "10.0.0.1");
        // Nobody is named by one of them.
        assert_eq!(forwarded(Some("198.51.100.2"), "proto=https"), "198.51.100.2");
        assert_eq!(forwarded(Some("198.51.100.2"), ""), "198.51.100.2");
        assert_eq!(forwarded(Some(""), "for=198.51.100.1"), "198.51.100.1");
        // What a client leaves in front of the proxy's entry does not spoil it.
        assert_eq!(forwarded(None, "for=\"x, for=198.51.100.1"), "198.51.100.1");
        assert_eq!(forwarded(None, "for=\"x, for=\"198.51.100.1:80\""), "198.51.100.1");
        let mut headers = HeaderMap::new();
        let octets = b"\xff, 198.51.100.1";
        headers.append("x-forwarded-for", axum::http::HeaderValue::from_bytes(octets).unwrap());
        let trusted: Vec<IpNet> = vec!["10.0.0.0/8".parse().unwrap()];
        let origin = Origin::behind("10.0.0.1".parse().unwrap(), &headers, &trusted);
        assert_eq!(origin.0.to_string(), "198.51.100.1");
    }
}
