//! Settings of the HTTP interface.

use std::net::SocketAddr;
use std::time::Duration;

use ipnet::IpNet;
use secrecy::SecretString;

use super::rate_limit::Rates;

/// Settings of the doors.
#[derive(Clone, Debug)]
pub struct HttpSettings {
    /// Where people and programs reach this instance, without a slash at the end; never taken from a request.
    pub public_url: String,
    /// Whether that was set, and not only follows from the address to listen on.
    pub public_url_is_set: bool,
    /// How long a device code is good.
    pub device_code_ttl: Duration,
    /// How often a device is told to poll.
    pub poll_interval: Duration,
    /// How long an access token is good.
    pub token_ttl: Duration,
    /// How long a browser stays signed in.
    pub session_ttl: Duration,
    /// Signing in through GitHub, if it is set up.
    pub github: Option<GithubSettings>,
    /// Whether anybody may sign in as anybody, for development.
    pub dev_sign_in: bool,
    /// The proxies whose word on a client's address counts.
    pub trusted_proxies: Vec<IpNet>,
    /// How often the doors may be used.
    pub rates: Rates,
}

/// An OAuth application at GitHub, a GitHub Enterprise server, or something that speaks like them.
#[derive(Clone, Debug)]
pub struct GithubSettings {
    /// The application's identifier.
    pub client_id: String,
    /// Its secret.
    pub client_secret: SecretString,
    /// Where people sign in, for example `https://github.com`.
    pub url: String,
    /// Where to ask who they are, for example `https://api.github.com`.
    pub api_url: String,
}

impl HttpSettings {
    /// The defaults for an instance that is reached at this address.
    #[must_use]
    pub fn new(listen: SocketAddr) -> Self {
        let mut reached = listen;
        if reached.ip().is_unspecified() {
            // Nobody is reached at `0.0.0.0`.
            reached.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
        }
        let url = format!("http://{reached}");
        // Browsers leave the usual port out.
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

    /// Whether the instance is reached over TLS.
    #[must_use]
    pub fn is_https(&self) -> bool {
        self.public_url.starts_with("https://")
    }
}

/// The port of a plain address of this very machine, as a browser writes it; none for any other.
#[must_use]
pub fn loopback_port(origin: &str) -> Option<&str> {
    let host = origin.strip_prefix("http://")?;
    ["localhost", "127.0.0.1", "[::1]"].iter().find_map(|name| {
        let port = host.strip_prefix(name)?;
        if port.is_empty() { Some("80") } else { port.strip_prefix(':') }
    })
}
