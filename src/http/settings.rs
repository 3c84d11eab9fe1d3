//! Settings of the HTTP interface.

use std::net::SocketAddr;
use std::time::Duration;

use ipnet::IpNet;
use secrecy::SecretString;

use super::rate_limit::Rates;

/// Settings of the HTTP interface.
#[derive(Clone, Debug)]
pub struct HttpSettings {
    /// The URL at which clients reach this instance, without a trailing slash. Never taken from a request.
    pub public_url: String,
    /// Whether the public URL was set explicitly; false when it is derived from the listen address.
    pub public_url_is_set: bool,
    /// The TTL of a device code.
    pub device_code_ttl: Duration,
    /// The shortest time between two polls of a device, as announced to it.
    pub poll_interval: Duration,
    /// The TTL of a bearer token that a device gets.
    pub token_ttl: Duration,
    /// The TTL of a session: how long a browser stays signed in.
    pub session_ttl: Duration,
    /// The settings for signing in through GitHub; none if it is not configured.
    pub github: Option<GithubSettings>,
    /// Whether a browser may sign in as any user without a credential. For development only.
    pub dev_sign_in: bool,
    /// The networks of proxies whose `X-Forwarded-For` is trusted.
    pub trusted_proxies: Vec<IpNet>,
    /// The rate limits of this node.
    pub rates: Rates,
}

/// An OAuth application at GitHub, a GitHub Enterprise server, or a compatible server.
#[derive(Clone, Debug)]
pub struct GithubSettings {
    /// The client identifier of the application.
    pub client_id: String,
    /// The client secret of the application.
    pub client_secret: SecretString,
    /// The base URL of the sign-in pages, for example `https://github.com`.
    pub url: String,
    /// The base URL of the API that identifies users, for example `https://api.github.com`.
    pub api_url: String,
}

impl HttpSettings {
    /// The defaults for an instance that listens on this address.
    #[must_use]
    pub fn new(listen: SocketAddr) -> Self {
        let mut reached = listen;
        if reached.ip().is_unspecified() {
            // Clients cannot connect to `0.0.0.0`.
            reached.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
        }
        let url = format!("http://{reached}");
        // Browsers leave the default port out of the origin, which is compared with this URL.
        let public_url = url.strip_suffix(":80").unwrap_or(&url).to_owned();
        Self {
            public_url,
            public_url_is_set: false,
            device_code_ttl: Duration::from_mins(10),
            poll_interval: Duration::from_secs(5),
            token_ttl: Duration::from_hours(24 * 30),
            session_ttl: Duration::from_hours(24 * 7),
            github: None,
            dev_sign_in: false,
            trusted_proxies: Vec::new(),
            rates: Rates::default(),
        }
    }

    /// Whether clients reach the instance over TLS.
    #[must_use]
    pub fn is_https(&self) -> bool {
        self.public_url.starts_with("https://")
    }
}

/// The port of a plain-HTTP loopback origin; none for any other origin.
#[must_use]
pub fn loopback_port(origin: &str) -> Option<&str> {
    let host = origin.strip_prefix("http://")?;
    ["localhost", "127.0.0.1", "[::1]"].iter().find_map(|name| {
        let port = host.strip_prefix(name)?;
        if port.is_empty() { Some("80") } else { port.strip_prefix(':') }
    })
}
