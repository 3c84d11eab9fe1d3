//! Why settings are refused.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::aggregates::field::Invalid;
use crate::postgres::AddressError;

/// Why settings are refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The settings file cannot be read.
    #[error("the settings file {}: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The connection string is refused.
    #[error(transparent)]
    Url(#[from] AddressError),
    /// Metrics would be reachable from elsewhere.
    #[error("metrics_listen must be a loopback address, not {0}")]
    NotLoopback(SocketAddr),
    /// A sentinel that no key could be told by.
    #[error("key_sentinel: 1 to 16 of a-z and 0-9")]
    Sentinel,
    /// What pipes keep by default is out of its bounds.
    #[error("pipe defaults: {0}")]
    PipeDefaults(#[from] Invalid),
    /// A setting of the doors is malformed.
    #[error("{setting}: {rule}")]
    Http {
        /// Which.
        setting: &'static str,
        /// What a right value looks like.
        rule: &'static str,
    },
    /// Fewer than two connections cannot work.
    #[error("connections: at least 2, at most 1000")]
    Connections,
}
