//! PostgreSQL: addresses, connections, schema migrations, and the private server.

mod address;
mod connect_error;
mod connection;
pub mod copy;
pub mod health;
pub mod migrate;
mod migrate_error;
mod pooler;
pub mod private;
mod reason;
mod roles;
mod tls;
pub mod version;
mod view_tables;

pub use address::{Address, AddressError, RootCerts, SslMode, TlsVersion};
pub use connect_error::ConnectError;
pub use connection::{CONNECT_TIMEOUT, Connection, Database, Listening, STATEMENT_TIMEOUT};
pub use reason::{answer_in, statement_reason};

/// Encodes octets as lower-case hexadecimal digits.
pub(crate) fn hex(octets: &[u8]) -> String {
    use std::fmt::Write as _;
    octets.iter().fold(String::with_capacity(2 * octets.len()), |mut text, octet| {
        let _ = write!(text, "{octet:02x}");
        text
    })
}

/// Whether an error or one of its sources is a database outage: the server is unreachable, busy, or denies the
/// statement.
#[must_use]
pub fn is_outage(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if error.is::<ConnectError>() {
            return true;
        }
        if let Some(error) = error.downcast_ref::<tokio_postgres::Error>() {
            // An error without an SQLSTATE comes from the connection, not from the server.
            return error.code().is_none_or(|code| {
                let code = code.code();
                matches!(code, "42501" | "55P03" | "57014" | "25006" | "40001" | "40P01")
                    || matches!(code.get(..2), Some("08" | "53" | "57"))
            });
        }
        // A missing log is not an outage: waiting does not help.
        if let Some(error) = error.downcast_ref::<crate::event_log::PrimaryError>() {
            return !matches!(error, crate::event_log::PrimaryError::NoLog);
        }
        cause = error.source();
    }
    false
}
