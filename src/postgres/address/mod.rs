//! Where a database is and how to connect to it: what the parameters of a connection string mean.

mod builder;
mod conninfo;
mod error;

use std::path::{Path, PathBuf};

use tokio_postgres::Config;
use tokio_postgres::config::Host;

pub use error::AddressError;

/// libpq's `sslmode`: how much of TLS is asked for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum SslMode {
    /// Never TLS.
    Disable,
    /// TLS if the server has it; nothing is verified.
    Prefer,
    /// TLS or nothing; nothing is verified, unless there is a root certificate.
    Require,
    /// The certificate must come from a trusted authority.
    VerifyCa,
    /// And it must name the host.
    VerifyFull,
}

/// libpq's `sslrootcert`: which authorities are trusted.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum RootCerts {
    /// Those of `~/.postgresql/root.crt` if there is such a file; else, for `verify-full` alone, the system's.
    #[default]
    Default,
    /// The system's (`sslrootcert=system`).
    System,
    /// Those of a PEM file.
    File(PathBuf),
}

/// Where a database is and how to speak to it.
#[derive(Clone)]
pub struct Address {
    /// The driver's configuration.
    pub config: Config,
    /// How much of TLS is asked for; a Unix socket never has it.
    pub ssl_mode: SslMode,
    /// Which authorities are trusted.
    pub root_certs: RootCerts,
    /// Whether the host name is told to the server before the handshake is encrypted (`sslsni`).
    pub sni: bool,
    /// The oldest TLS version that is accepted (`ssl_min_protocol_version`).
    pub oldest_tls: TlsVersion,
    /// The newest TLS version that is offered (`ssl_max_protocol_version`).
    pub newest_tls: TlsVersion,
}

/// The TLS versions that this program speaks.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum TlsVersion {
    /// RFC 5246.
    Tls12,
    /// RFC 8446.
    Tls13,
}

impl Address {
    /// A database behind a Unix socket, without a password.
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

    /// The same server and login, another database.
    #[must_use]
    pub fn database(&self, name: &str) -> Self {
        let mut other = self.clone();
        other.config.dbname(name);
        other
    }

    /// One configuration for each host, in the order in which they are given: each host gets its own share of the time,
    /// and TLS settings do not apply to a socket.
    /// Whether any host is reached by TCP.
    pub(super) fn has_tcp_host(&self) -> bool {
        let is_tcp = |host: &Host| matches!(host, Host::Tcp(_));
        !self.config.get_hostaddrs().is_empty() || self.config.get_hosts().iter().any(is_tcp)
    }

    #[must_use]
    pub(super) fn configs(&self) -> Vec<Config> {
        let (hosts, ports) = (self.config.get_hosts(), self.config.get_ports());
        let one = |(place, host): (usize, &Host)| {
            let mut config = match self.config.get_hostaddrs().get(place) {
                None => self.with_host(host),
                // The address decides where to connect, and so that it is by TCP, whatever the host is called.
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

    /// The driver's configuration with this host alone; it has no way to take hosts out.
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
                config.channel_binding(from.get_channel_binding());
            }
        }
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
    /// Host, port and database; never user or password.
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
