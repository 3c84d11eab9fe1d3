//! PostgreSQL: where it is, how to connect to it, and how its schema is brought up to date.

mod connection;
pub mod health;
pub mod migrate;
pub mod private;
mod tls;
mod url;
pub mod version;

pub use connection::{ConnectError, Connection, Database, Listening};
pub use url::{Address, SslMode, UrlError};
