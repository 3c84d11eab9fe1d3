//! The error type of invalid settings.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::aggregates::field::Invalid;
use crate::postgres::AddressError;

/// Why the settings were rejected.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A settings file or a file with a secret cannot be read or parsed.
    #[error("the file {} cannot be used: {reason}", path.display())]
    File {
        /// The path of the file, as it was configured.
        path: PathBuf,
        /// What is wrong with the file.
        reason: String,
    },
    /// The database connection string is invalid or uses an unsupported parameter.
    #[error(transparent)]
    Url(#[from] AddressError),
    /// The metrics address is not a loopback address, so other machines could read the metrics.
    #[error("metrics_listen must be a loopback address, not {0}")]
    NotLoopback(SocketAddr),
    /// The key sentinel is empty, too long, or contains a character that is not allowed.
    #[error("key_sentinel: must be 1 to 16 characters of a-z and 0-9")]
    Sentinel,
    /// A default for the retention of pipes is out of range.
    #[error("pipe defaults: {0}")]
    PipeDefaults(#[from] Invalid),
    /// An HTTP setting is invalid.
    #[error("{setting}: {rule}")]
    Http {
        /// The name of the setting, as in the settings file.
        setting: &'static str,
        /// What a valid value looks like.
        rule: &'static str,
    },
    /// A setting of NATS is invalid.
    #[error("{setting}: {rule}")]
    Nats {
        /// The name of the setting, as in the settings file.
        setting: &'static str,
        /// What a valid value looks like.
        rule: &'static str,
    },
    /// The projections would be compared with the log all the time.
    #[error("audit_every: must be at least 1m")]
    AuditEvery,
    /// The number of connections is not between 2 and 1,000.
    #[error("connections: must be between 2 and 1000")]
    Connections,
}
