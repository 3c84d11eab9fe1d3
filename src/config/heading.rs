//! The headings of flags in `--help`. Every command accepts all of them, but only `serve` shows those of HTTP.

/// Which database and keys.
pub const INSTANCE: &str = "Instance";
/// Another way to reach an instance.
pub const REMOTE: &str = "Running server, instead of a database";
/// What the HTTP server does.
pub const HTTP: &str = "HTTP";
/// Tenants' accounts and streams at NATS.
pub const NATS: &str = "NATS";
/// How results are printed.
pub const OUTPUT: &str = "Output";
