//! Why a connection string is refused.

/// Why a connection string is refused. It never quotes a value, because that may be a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Neither a `postgres://` URI nor `key=value` pairs.
    #[error("the connection string cannot be read: {0}")]
    Unreadable(&'static str),
    /// An `sslmode` that libpq does not have either.
    #[error("unknown `sslmode`: use disable, allow, prefer, require, verify-ca or verify-full")]
    SslMode,
    /// A parameter that libpq does not know.
    #[error(
        "unknown connection parameter `{0}`: remove it; see docs/operations.md for the parameters that Tenure reads"
    )]
    Unknown(String),
    /// A keyword that cannot be shown, because it may be part of a password.
    #[error(
        "unknown connection parameter behind the password: percent-encode `@`, `/`, `?` and `%` in the password of a \
         URI, and quote a password with blanks in `key=value` pairs"
    )]
    UnknownBehindPassword,
    /// A parameter of libpq that Tenure does not carry out, and that cannot be left out without harm.
    #[error("the connection parameter `{name}` is not supported: {advice}")]
    Unsupported {
        /// The keyword.
        name: &'static str,
        /// What to do instead.
        advice: &'static str,
    },
    /// A value that does not fit its parameter.
    #[error("the connection parameter `{name}` must be {rule}")]
    Invalid {
        /// The keyword.
        name: &'static str,
        /// What is allowed.
        rule: &'static str,
    },
}
