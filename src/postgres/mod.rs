//! PostgreSQL: where it is, how to connect to it, and how its schema is brought up to date.

mod address;
mod connection;
mod conninfo;
pub mod health;
pub mod migrate;
mod pooler;
pub mod private;
mod roles;
mod tls;
pub mod version;
mod view_tables;

pub use address::{Address, AddressError, RootCerts, SslMode, TlsVersion};
pub use connection::{CONNECT_TIMEOUT, ConnectError, Connection, Database, Listening, STATEMENT_TIMEOUT};

/// Octets as hexadecimal digits.
fn hex(octets: &[u8]) -> String {
    use std::fmt::Write as _;
    octets.iter().fold(String::with_capacity(2 * octets.len()), |mut text, octet| {
        let _ = write!(text, "{octet:02x}");
        text
    })
}
