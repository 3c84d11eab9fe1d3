//! Why there is no usable connection.

use std::time::Duration;

/// Why there is no usable connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// TLS cannot be set up as asked.
    #[error("TLS to PostgreSQL: {0}")]
    Tls(String),
    /// The server cannot be reached or refuses.
    #[error("cannot connect to PostgreSQL at {address}: {reason}")]
    Refused {
        /// Host, port and database.
        address: String,
        /// What the driver or the server said.
        reason: String,
    },
    /// The server accepts connections and does not answer.
    #[error("PostgreSQL at {address} did not answer within {} s", timeout.as_secs_f32())]
    TimedOut {
        /// Host, port and database.
        address: String,
        /// How long it had.
        timeout: Duration,
    },
    /// The server is a standby, or is still recovering.
    #[error("PostgreSQL at {address}: this is a replica; name the primary")]
    Replica {
        /// Host, port and database.
        address: String,
    },
    /// The server, the database or the login is set to read only.
    #[error(
        "PostgreSQL at {address} is read-only (default_transaction_read_only is on for the server, the database or the \
         login); turn that off, or name another database"
    )]
    ReadOnly {
        /// Host, port and database.
        address: String,
    },
}
