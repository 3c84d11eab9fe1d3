//! The application state that every route shares: the engine, the settings, and what bounds concurrent work.

use std::sync::Arc;

use super::body;
use super::fair_semaphore::FairSemaphore;
use super::oauth::github::Github;
use super::rate_limit::RateLimits;
use super::readiness::ReadinessCache;
use super::settings::HttpSettings;
use super::stream_permits::stream_permits;
use super::unpaged_list::UnpagedLists;
use crate::Tenure;
use crate::nats::Nats;
use crate::subscribers::live::LiveFeed;

/// The application state of the HTTP interface.
pub struct AppState {
    /// The engine that handlers run operations and queries on.
    pub tenure: Arc<Tenure>,
    /// The settings of the HTTP interface.
    pub settings: HttpSettings,
    /// The rate limits of this node.
    pub rate_limits: RateLimits,
    /// The latest readiness status of this node.
    pub readiness: ReadinessCache,
    /// The OAuth application for signing in through GitHub, if one is configured.
    pub github: Option<Github>,
    /// Bounds how many unpaged lists are read at once.
    pub unpaged_lists: UnpagedLists,
    /// Bounds how many large request bodies are held at once.
    pub large_body_permits: FairSemaphore,
    /// Bounds how many readers follow events at once.
    pub streams: FairSemaphore,
    /// The newest events, for those who follow them.
    pub live: LiveFeed,
    /// NATS, if it is configured.
    pub nats: Option<Nats>,
}

/// The state as axum hands it to every route.
pub type SharedState = Arc<AppState>;

impl AppState {
    /// The state of an interface to this engine, and to NATS if it is configured.
    ///
    /// # Errors
    /// A text that names the setting, if the public URL or a URL of GitHub is malformed.
    pub fn new(
        tenure: Arc<Tenure>,
        settings: HttpSettings,
        nats: Option<Nats>,
    ) -> Result<SharedState, String> {
        let github =
            settings.github.as_ref().map(|github| Github::new(github, &settings.public_url)).transpose()?;
        let rate_limits = RateLimits::new(&settings.rates);
        let (readiness, unpaged_lists) = (ReadinessCache::default(), UnpagedLists::default());
        let large_body_permits = body::large_body_permits();
        let (streams, live) = (stream_permits(), LiveFeed::new(tenure.clone()));
        Ok(Arc::new(Self {
            tenure,
            settings,
            rate_limits,
            readiness,
            github,
            unpaged_lists,
            large_body_permits,
            streams,
            live,
            nats,
        }))
    }

    /// An HMAC of a text under the log's keys, for one purpose. All nodes of a log compute the same.
    #[must_use]
    pub fn mac(&self, purpose: &'static str, text: &str) -> [u8; 32] {
        use crate::aggregates::ClaimHasher as _;
        self.tenure.codec().keys().claim(purpose, text.as_bytes()).key
    }
}
