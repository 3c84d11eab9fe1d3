//! The address of a database: where it is and how to connect to it, parsed from a connection string.

mod builder;
mod conninfo;
mod error;

use std::path::{Path, PathBuf};

use tokio_postgres::Config;
use tokio_postgres::config::Host;

pub use error::AddressError;

/// The port of a host that names none.
pub const DEFAULT_PORT: u16 = 5_432;

/// libpq's `sslmode`: whether to use TLS, and what to verify.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum SslMode {
    /// Never use TLS.
    Disable,
    /// Use TLS if the server supports it. Verifies nothing, except with a named root certificate.
    Prefer,
    /// Require TLS. Verifies nothing unless there is a root certificate.
    Require,
    /// Require TLS and a certificate from a trusted authority.
    VerifyCa,
    /// Require TLS and a certificate from a trusted authority that names the host.
    VerifyFull,
}

/// libpq's `sslrootcert`: which certificate authorities to trust.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum RootCerts {
    /// Those in `~/.postgresql/root.crt` if the file exists; otherwise, for `verify-full` only, the system's.
    #[default]
    Default,
    /// The authorities that the system trusts (`sslrootcert=system`).
    System,
    /// The authorities in a PEM file.
    File(PathBuf),
}

/// Where a database is and how to connect to it.
#[derive(Clone)]
pub struct Address {
    /// The driver's configuration, with all hosts.
    pub config: Config,
    /// Whether to use TLS, and what to verify; Unix sockets never use TLS.
    pub ssl_mode: SslMode,
    /// Which certificate authorities to trust.
    pub root_certs: RootCerts,
    /// Whether to send the host name to the server in the unencrypted part of the handshake (`sslsni`).
    pub sni: bool,
    /// The oldest TLS version to accept (`ssl_min_protocol_version`).
    pub oldest_tls: TlsVersion,
    /// The newest TLS version to offer (`ssl_max_protocol_version`).
    pub newest_tls: TlsVersion,
}

/// The TLS versions that Tenure supports.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum TlsVersion {
    /// TLS 1.2 (RFC 5246).
    Tls12,
    /// TLS 1.3 (RFC 8446).
    Tls13,
}

impl Address {
    /// A database on a Unix socket in this directory, without a password.
    #[must_use]
    pub fn socket(directory: &Path, user: &str, database: &str) -> Self {
        let mut config = Config::new();
        config.host_path(directory).user(user).dbname(database);
        config.ssl_mode(tokio_postgres::config::SslMode::Disable);
        Self { config, ssl_mode: SslMode::Disable, ..Self::nowhere() }
    }

    fn nowhere() -> Self {
        Self {
            config: Config::new(),
            ssl_mode: SslMode::Prefer,
            root_certs: RootCerts::Default,
            sni: true,
            oldest_tls: TlsVersion::Tls12,
            newest_tls: TlsVersion::Tls13,
        }
    }

    /// The same server and login with another database.
    #[must_use]
    pub fn database(&self, name: &str) -> Self {
        let mut other = self.clone();
        other.config.dbname(name);
        other
    }

    /// Whether any host is reached by TCP.
    pub(super) fn has_tcp_host(&self) -> bool {
        let is_tcp = |host: &Host| matches!(host, Host::Tcp(_));
        !self.config.get_hostaddrs().is_empty() || self.config.get_hosts().iter().any(is_tcp)
    }

    /// One configuration for each host, in the given order: each host gets its own time limit, and TLS settings do not
    /// apply to Unix sockets.
    #[must_use]
    pub(super) fn configs(&self) -> Vec<Config> {
        let (hosts, ports) = (self.config.get_hosts(), self.config.get_ports());
        let one = |(place, host): (usize, &Host)| {
            let mut config = match self.config.get_hostaddrs().get(place) {
                None => self.with_host(host),
                // As in libpq, `hostaddr` decides where to connect, always by TCP; `host` is only the name for TLS.
                Some(address) => {
                    let name = match host {
                        Host::Tcp(name) => name.clone(),
                        Host::Unix(_) => address.to_string(),
                    };
                    let mut config = self.with_host(&Host::Tcp(name));
                    config.hostaddr(*address);
                    config
                }
            };
            if let Some(port) = ports.get(place).or_else(|| ports.first()) {
                config.port(*port);
            }
            config
        };
        hosts.iter().enumerate().map(one).collect()
    }

    /// The driver's configuration with only this host. Copied field by field: the driver cannot remove hosts.
    fn with_host(&self, host: &Host) -> Config {
        let from = &self.config;
        let mut config = Config::new();
        match host {
            Host::Unix(path) => {
                config.host_path(path);
                config.ssl_mode(tokio_postgres::config::SslMode::Disable);
            }
            Host::Tcp(name) => {
                config.host(name);
                config.ssl_mode(from.get_ssl_mode());
                config.ssl_negotiation(from.get_ssl_negotiation());
            }
        }
        // Of sockets too: if it is required, the driver refuses a connection that cannot have it.
        config.channel_binding(from.get_channel_binding());
        if let Some(user) = from.get_user() {
            config.user(user);
        }
        if let Some(password) = from.get_password() {
            config.password(password);
        }
        if let Some(name) = from.get_dbname() {
            config.dbname(name);
        }
        if let Some(options) = from.get_options() {
            config.options(options);
        }
        if let Some(name) = from.get_application_name() {
            config.application_name(name);
        }
        if let Some(timeout) = from.get_connect_timeout() {
            config.connect_timeout(*timeout);
        }
        config.keepalives(from.get_keepalives());
        config.keepalives_idle(from.get_keepalives_idle());
        if let Some(interval) = from.get_keepalives_interval() {
            config.keepalives_interval(interval);
        }
        if let Some(retries) = from.get_keepalives_retries() {
            config.keepalives_retries(retries);
        }
        if let Some(timeout) = from.get_tcp_user_timeout() {
            config.tcp_user_timeout(*timeout);
        }
        config
    }
}

impl std::fmt::Debug for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self}")
    }
}

impl std::fmt::Display for Address {
    /// Shows hosts, ports and database, never user or password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let hosts: Vec<String> = self
            .config
            .get_hosts()
            .iter()
            .map(|host| match host {
                Host::Tcp(name) => name.clone(),
                Host::Unix(path) => path.display().to_string(),
            })
            .collect();
        let ports: Vec<String> = self.config.get_ports().iter().map(ToString::to_string).collect();
        write!(f, "{}", hosts.join(","))?;
        if !ports.is_empty() {
            write!(f, " port {}", ports.join(","))?;
        }
        write!(f, " database {}", self.config.get_dbname().unwrap_or("(default)"))
    }
}

#[cfg(test)]
mod tests;
