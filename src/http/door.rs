//! What every route shares: the engine, the settings of the doors, and their limits.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use secrecy::SecretString;

use super::body;
use super::health::ReadinessCache;
use super::limits::{Limiter, Rates};
use super::oauth::github::Github;
use super::turns::Turns;
use super::whole_list::WholeLists;
use crate::Tenure;

/// Settings of the doors.
#[derive(Clone, Debug)]
pub struct DoorSettings {
    /// Where people and programs reach this instance, without a slash at the end; never taken from a request.
    pub public_url: String,
    /// Whether that was set, and not only follows from the address to listen on.
    pub public_url_is_set: bool,
    /// How long a device code is good.
    pub device_code_life: Duration,
    /// How often a device is told to poll.
    pub poll_interval: Duration,
    /// How long an access token is good.
    pub token_life: Duration,
    /// How long a browser stays signed in.
    pub session_life: Duration,
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

impl DoorSettings {
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
            device_code_life: Duration::from_mins(10),
            poll_interval: Duration::from_secs(5),
            token_life: Duration::from_hours(24 * 30),
            session_life: Duration::from_hours(24 * 7),
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

/// What every route shares.
pub struct Door {
    /// The engine.
    pub tenure: Arc<Tenure>,
    /// The settings.
    pub settings: DoorSettings,
    /// The limits of this node.
    pub limiter: Limiter,
    /// Whether this node can serve, as it was found a moment ago.
    pub readiness: ReadinessCache,
    /// Signing in through GitHub.
    pub github: Option<Github>,
    /// Whose turn it is to read a list whole.
    pub whole_lists: WholeLists,
    /// Whose turn it is to send a long body.
    pub long_bodies: Turns,
}

/// What every route is given.
pub type Shared = Arc<Door>;

impl Door {
    /// The doors of an engine.
    ///
    /// # Errors
    /// GitHub's addresses are malformed.
    pub fn new(tenure: Arc<Tenure>, settings: DoorSettings) -> Result<Shared, String> {
        let github =
            settings.github.as_ref().map(|github| Github::new(github, &settings.public_url)).transpose()?;
        let limiter = Limiter::new(&settings.rates);
        let (readiness, whole_lists) = (ReadinessCache::default(), WholeLists::default());
        let long_bodies = body::turns();
        Ok(Arc::new(Self { tenure, settings, limiter, readiness, github, whole_lists, long_bodies }))
    }

    /// An HMAC of the log's keys over text, for one purpose: good on every node.
    #[must_use]
    pub fn mac(&self, purpose: &'static str, text: &str) -> [u8; 32] {
        use crate::aggregates::ClaimHasher as _;
        self.tenure.codec().keys().claim(purpose, text.as_bytes()).key
    }
}
