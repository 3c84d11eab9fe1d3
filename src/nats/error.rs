//! Why something could not be done at NATS.

use super::claims::TokenError;
use crate::dispatch::DispatchError;
use crate::event_log::ReadError;
use crate::operations::Refusal;

/// Why something could not be done at NATS. The texts are for operators, and name no secret.
#[derive(Debug, thiserror::Error)]
pub enum NatsError {
    /// There is no connection to a server.
    #[error("no connection to NATS: {0}")]
    Disconnected(String),
    /// This node cannot use NATS at the moment, for the reason that it found last.
    #[error("{0}")]
    NotUsable(String),
    /// A server did not answer in time.
    #[error("NATS does not answer: {0}")]
    Silent(&'static str),
    /// The servers trust another operator than this log's.
    #[error(
        "the NATS servers trust another operator ({found}) than this log has ({expected}); configure them with the file \
         that `tenure nats bootstrap` writes"
    )]
    AnotherOperator {
        /// Whom they trust.
        found: String,
        /// Whom they should trust.
        expected: String,
    },
    /// A server is too old to keep tenants apart.
    #[error(
        "nats-server {version} ({server}) does not keep accounts apart (CVE-2025-30215 and later advisories); use {SAFE}"
    )]
    Unsafe {
        /// The server's name.
        server: String,
        /// Its version.
        version: String,
    },
    /// A server refused the token of an account.
    #[error("a NATS server refused the token of an account: {0}")]
    RefusedToken(String),
    /// An account's users are refused, or it cannot use `JetStream`.
    #[error("the account is not usable at NATS: {0}")]
    Unusable(String),
    /// `JetStream` refused a change.
    #[error("JetStream: {0}")]
    JetStream(String),
    /// Another node is changing the account at NATS.
    #[error("another node is changing the account at NATS")]
    Held,
    /// The operator's keys are not there, or not yet.
    #[error("this log has no NATS operator; run `tenure nats bootstrap`")]
    NoOperator,
    /// The operator's keys in the log cannot be read.
    #[error("the NATS keys in the log are damaged, or wrapped by another master key")]
    DamagedKeys,
    /// There is no such open account.
    #[error("the account is closed or unknown")]
    NoAccount,
    /// The signing key of an account cannot be read.
    #[error("the signing key of the account cannot be read")]
    UnreadableSeed,
    /// The database cannot be used.
    #[error(transparent)]
    Store(#[from] ReadError),
    /// A token cannot be made.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// A command to the log failed.
    #[error("the log cannot be written to: {0}")]
    Command(String),
    /// The configuration or data directory of a server cannot be written.
    #[error("cannot write {path}: {reason}")]
    File {
        /// The file.
        path: String,
        /// What is wrong.
        reason: String,
    },
}

/// Which versions keep tenants apart.
pub const SAFE: &str = "2.12.7 or newer, or 2.11.16 or newer of 2.11";

impl From<DispatchError<Refusal>> for NatsError {
    fn from(error: DispatchError<Refusal>) -> Self {
        match error {
            DispatchError::Refused(Refusal::NotFound(_)) => Self::NoAccount,
            error => Self::Command(error.to_string()),
        }
    }
}

impl From<crate::projections::QueryError> for NatsError {
    fn from(error: crate::projections::QueryError) -> Self {
        match error {
            crate::projections::QueryError::NotFound => Self::NoAccount,
            crate::projections::QueryError::Unavailable(error) => Self::Store(error),
        }
    }
}

impl NatsError {
    /// Whether the cause is out of reach rather than at fault: it is tried again soon.
    #[must_use]
    pub const fn passes(&self) -> bool {
        matches!(
            self,
            Self::Disconnected(_)
                | Self::NotUsable(_)
                | Self::Silent(_)
                | Self::Held
                | Self::Store(_)
                | Self::Command(_)
        )
    }
}
