//! The error of opening a connection.

use std::time::Duration;

/// Why a connection could not be opened or used.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// TLS cannot be set up as the address asks.
    #[error("cannot set up TLS to PostgreSQL: {0}")]
    Tls(String),
    /// The server cannot be reached, or refuses the connection or a session setting.
    #[error("cannot connect to PostgreSQL at {address}: {reason}")]
    Refused {
        /// Host, port and database.
        address: String,
        /// The message of the driver or the server.
        reason: String,
        /// Whether it was the server that refused.
        answered: bool,
    },
    /// The server did not complete the connection in time.
    #[error(
        "PostgreSQL at {address} did not answer within {} s; check the server and any proxy in front of it",
        timeout.as_secs_f32()
    )]
    TimedOut {
        /// Host, port and database.
        address: String,
        /// The time limit that applied to this host.
        timeout: Duration,
    },
    /// The server is a standby, or is still recovering.
    #[error("PostgreSQL at {address}: this is a replica; name the primary")]
    Replica {
        /// Host, port and database.
        address: String,
    },
    /// Transactions are read-only by default: set for the server, the database or the login.
    #[error(
        "PostgreSQL at {address} is read-only (default_transaction_read_only is on for the server, the database or the \
         login); turn it off, or use another database"
    )]
    ReadOnly {
        /// Host, port and database.
        address: String,
    },
}
