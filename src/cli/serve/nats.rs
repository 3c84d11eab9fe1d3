//! Which NATS a node uses: the configured one, a private one, or none.

use crate::Tenure;
use crate::config::Config;
use crate::nats::private::{PrivateNats, PrivateNatsError, running};
use crate::nats::{Nats, NatsSettings};

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
        return begin_with(tenure, config.nats.settings(url), "");
    }
    match PrivateNats::start(tenure, &config.data_dir, config.nats.listen).await {
        Ok(server) => {
            let mut settings = config.nats.settings(server.url());
            settings.private = Some(server.directory_id());
            let begun = begin_with(tenure, settings, "private: ");
            *private = Some(server);
            begun
        }
        Err(PrivateNatsError::Shared) => match running(&config.data_dir) {
            Some(url) => begin_with(tenure, config.nats.settings(&url), "private, run by another process: "),
            None => without(&PrivateNatsError::Shared),
        },
        Err(PrivateNatsError::OfAnotherNode { url }) => {
            begin_with(tenure, config.nats.settings(&url), "private, run by another node: ")
        }
        Err(error) => without(&error),
    }
}

fn without(error: &PrivateNatsError) -> Use {
    tracing::warn!(%error, "no NATS: credentials are not exchanged, and pipes have no streams");
    Use::Nothing(error.to_string())
}

fn begin_with(tenure: &Tenure, settings: NatsSettings, what: &str) -> Use {
    let said = format!("{what}{}", settings.public_url);
    Use::Nats { handle: Nats::start(tenure.clone(), settings), said }
}
