//! The error of parsing a connection string.

/// Why a connection string is refused. Never quotes a value, because it may be a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Neither a `postgres://` URI nor `key=value` pairs.
    #[error("cannot parse the connection string: {0}")]
    Unreadable(&'static str),
    /// An `sslmode` that libpq does not know either.
    #[error("unknown `sslmode`: use disable, allow, prefer, require, verify-ca or verify-full")]
    SslMode,
    /// A parameter that libpq does not know, with its name.
    #[error(
        "unknown connection parameter `{0}`: remove it; see docs/operations.md for the parameters that Tenure reads"
    )]
    Unknown(String),
    /// An unknown parameter whose name cannot be shown, because it may be part of a password.
    #[error(
        "unknown connection parameter after the password: in a URI, percent-encode `@`, `/`, `?` and `%` in the \
         password; in `key=value` pairs, quote a password that contains blanks"
    )]
    UnknownBehindPassword,
    /// A libpq parameter that Tenure does not support and that is not safe to ignore.
    #[error("the connection parameter `{name}` is not supported: {advice}")]
    Unsupported {
        /// The name of the parameter.
        name: &'static str,
        /// What to do instead, as an imperative.
        advice: &'static str,
    },
    /// An environment variable of libpq that cannot be applied.
    #[error("the environment variable {name}: {error}")]
    Variable {
        /// The name of the variable.
        name: &'static str,
        /// What is wrong with the parameter that it stands for.
        error: Box<AddressError>,
    },
    /// A value that its parameter does not allow.
    #[error("the connection parameter `{name}` must be {rule}")]
    Invalid {
        /// The name of the parameter.
        name: &'static str,
        /// The values that are allowed.
        rule: &'static str,
    },
}
