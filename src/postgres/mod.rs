//! PostgreSQL: addresses, connections, schema migrations, and the private server.

mod address;
mod connect_error;
mod connection;
pub mod copy;
mod drivers;
pub mod health;
pub mod migrate;
mod migrate_error;
mod outage;
mod pooler;
pub mod private;
mod projection_set;
mod reason;
mod roles;
mod statistics;
mod tls;
pub mod version;
mod view_tables;
mod watch;

pub use address::{Address, AddressError, RootCerts, SslMode, TlsVersion};
pub use connect_error::ConnectError;
pub use connection::{CONNECT_TIMEOUT, Connection, Database, Listening, STATEMENT_TIMEOUT};
pub use drivers::Drivers;
pub use outage::{is_lock_timeout, is_outage};
pub use reason::{answer_in, statement_reason};
pub use roles::NEEDED;
pub use watch::Watch;

/// Encodes octets as lower-case hexadecimal digits.
pub(crate) fn hex(octets: &[u8]) -> String {
    use std::fmt::Write as _;
    octets.iter().fold(String::with_capacity(2 * octets.len()), |mut text, octet| {
        let _ = write!(text, "{octet:02x}");
        text
    })
}
