//! Which NATS a node uses: the configured one, a private one, or none.

use crate::Tenure;
use crate::config::Config;
use crate::nats::Nats;
use crate::nats::private::{PrivateNats, running};

/// The NATS of a node.
pub(super) enum Use {
    /// It is used.
    Nats {
        handle: Nats,
        /// What to say of it.
        said: String,
    },
    /// None is used, for this reason.
    Nothing(String),
}

impl Use {
    /// The handle, if NATS is used.
    pub(super) fn handle(&self) -> Option<Nats> {
        match self {
            Self::Nats { handle, .. } => Some(handle.clone()),
            Self::Nothing(_) => None,
        }
    }

    /// What to say of it.
    pub(super) fn said(&self) -> String {
        match self {
            Self::Nats { said, .. } => said.clone(),
            Self::Nothing(reason) => format!("none: {reason}"),
        }
    }
}

/// Begins to use NATS. Everything else works without it.
///
/// A private server is stored in `private`, so that the caller can stop it.
pub(super) async fn begin(config: &Config, tenure: &Tenure, private: &mut Option<PrivateNats>) -> Use {
    if config.nats.is_off {
        return Use::Nothing("switched off".to_owned());
    }
    if let Some(url) = &config.nats.url {
        return begin_with(config, tenure, url, "");
    }
    // Another process of this data directory runs it.
    if let Some(url) = running(&config.data_dir) {
        return begin_with(config, tenure, &url, "private, run by another process: ");
    }
    match PrivateNats::start(tenure, &config.data_dir, config.nats.listen).await {
        Ok(server) => {
            let begun = begin_with(config, tenure, server.url(), "private: ");
            *private = Some(server);
            begun
        }
        Err(error) => {
            tracing::warn!(%error, "no private NATS: credentials are not exchanged, and pipes have no streams");
            Use::Nothing(error.to_string())
        }
    }
}

fn begin_with(config: &Config, tenure: &Tenure, url: &str, what: &str) -> Use {
    let settings = config.nats.settings(url);
    let said = format!("{what}{}", settings.public_url);
    Use::Nats { handle: Nats::start(tenure.clone(), settings), said }
}
