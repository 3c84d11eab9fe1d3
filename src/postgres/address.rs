//! Where a database is and how to connect to it: what the parameters of a connection string mean.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use tokio_postgres::Config;
use tokio_postgres::config::{ChannelBinding, Host, LoadBalanceHosts, SslNegotiation, TargetSessionAttrs};

use super::conninfo;

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

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let mut builder =
            Builder { address: Self::nowhere(), ssl_mode: None, hosts: None, addresses: None, ports: None };
        for conninfo::Parameter { name, value, name_is_safe } in conninfo::parse(text)? {
            if !builder.set(&name, &value)? {
                let known_name = name_is_safe && name.len() <= 64 && !name.is_empty();
                return Err(if known_name {
                    AddressError::Unknown(name)
                } else {
                    AddressError::UnknownBehindPassword
                });
            }
        }
        builder.finish()
    }
}

/// An address in the making: some parameters mean something only together.
struct Builder {
    address: Address,
    ssl_mode: Option<SslMode>,
    hosts: Option<String>,
    addresses: Option<String>,
    ports: Option<String>,
}

/// Parameters of libpq that cannot be ignored, and what to do instead.
const UNSUPPORTED: &[(&str, &str)] = &[
    (
        "sslcert",
        "Tenure does not send client certificates; use a password, or terminate TLS in a local proxy",
    ),
    ("sslkey", "Tenure does not send client certificates; use a password, or terminate TLS in a local proxy"),
    (
        "sslpassword",
        "Tenure does not send client certificates; use a password, or terminate TLS in a local proxy",
    ),
    ("sslcrl", "Tenure does not read revocation lists; remove it, or verify in a local proxy"),
    ("sslcrldir", "Tenure does not read revocation lists; remove it, or verify in a local proxy"),
    ("sslkeylogfile", "remove it"),
    ("requirepeer", "remove it, and restrict who may enter the socket's directory"),
    ("require_auth", "remove it, and set channel_binding=require or sslmode=verify-full"),
    ("krbsrvname", "Tenure does not speak GSSAPI; use a password"),
    ("gsslib", "Tenure does not speak GSSAPI; use a password"),
    ("gssdelegation", "Tenure does not speak GSSAPI; use a password"),
    ("service", "write the service's parameters into the connection string"),
    ("servicefile", "write the service's parameters into the connection string"),
    ("passfile", "write the password into the connection string, which may come from a file"),
    ("replication", "remove it: Tenure needs an ordinary session"),
    ("min_protocol_version", "remove it"),
    ("max_protocol_version", "remove it"),
    ("scram_client_key", "use a password"),
    ("scram_server_key", "use a password"),
    ("oauth_issuer", "use a password"),
    ("oauth_client_id", "use a password"),
    ("oauth_client_secret", "use a password"),
    ("oauth_scope", "use a password"),
];

impl Builder {
    /// Takes a parameter; `false` if libpq has no such one.
    #[allow(clippy::too_many_lines)] // one arm a parameter: a table, read from top to bottom
    fn set(&mut self, name: &str, value: &str) -> Result<bool, AddressError> {
        if let Some((name, advice)) = UNSUPPORTED.iter().find(|(unsupported, _)| *unsupported == name) {
            // As in libpq, an empty value is none.
            if value.is_empty() {
                return Ok(true);
            }
            return Err(AddressError::Unsupported { name, advice });
        }
        let address = &mut self.address;
        let config = &mut address.config;
        match name {
            "host" => self.hosts = Some(value.to_owned()),
            "hostaddr" => self.addresses = Some(value.to_owned()),
            "port" => self.ports = Some(value.to_owned()),
            // As in libpq, an empty value is none.
            "user" | "dbname" | "keepalives" | "sslsni" | "sslcompression" if value.is_empty() => {}
            "user" => drop(config.user(value)),
            "password" => drop(config.password(value)),
            "dbname" => drop(config.dbname(value)),
            "options" => drop(config.options(value)),
            "application_name" => drop(config.application_name(value)),
            "fallback_application_name" => {
                if config.get_application_name().is_none() {
                    config.application_name(value);
                }
            }
            "connect_timeout" => {
                // As in libpq, 0 and less mean that it is not set. Tenure waits for its own limit then, never for ever.
                if let seconds @ 1.. = integer("connect_timeout", value)? {
                    config.connect_timeout(Duration::from_secs(seconds.unsigned_abs()));
                }
            }
            "keepalives" => drop(config.keepalives(integer("keepalives", value)? != 0)),
            "keepalives_idle" => {
                if let seconds @ 1.. = integer("keepalives_idle", value)? {
                    config.keepalives_idle(Duration::from_secs(seconds.unsigned_abs()));
                }
            }
            "keepalives_interval" => {
                if let seconds @ 1.. = integer("keepalives_interval", value)? {
                    config.keepalives_interval(Duration::from_secs(seconds.unsigned_abs()));
                }
            }
            "keepalives_count" => {
                if let count @ 1.. = integer("keepalives_count", value)? {
                    config.keepalives_retries(u32::try_from(count).unwrap_or(u32::MAX));
                }
            }
            "tcp_user_timeout" => {
                if let millis @ 1.. = integer("tcp_user_timeout", value)? {
                    config.tcp_user_timeout(Duration::from_millis(millis.unsigned_abs()));
                }
            }
            "target_session_attrs" => {
                let wanted = match value {
                    "any" => TargetSessionAttrs::Any,
                    "read-write" | "primary" => TargetSessionAttrs::ReadWrite,
                    _ => {
                        return Err(AddressError::Invalid {
                            name: "target_session_attrs",
                            rule: "any, read-write or primary: Tenure works on a primary alone",
                        });
                    }
                };
                config.target_session_attrs(wanted);
            }
            "load_balance_hosts" => {
                let wanted = match value {
                    "disable" => LoadBalanceHosts::Disable,
                    "random" => LoadBalanceHosts::Random,
                    _ => {
                        return Err(AddressError::Invalid {
                            name: "load_balance_hosts",
                            rule: "disable or random",
                        });
                    }
                };
                config.load_balance_hosts(wanted);
            }
            "channel_binding" => {
                let wanted = match value {
                    "disable" => ChannelBinding::Disable,
                    "prefer" => ChannelBinding::Prefer,
                    "require" => ChannelBinding::Require,
                    _ => {
                        return Err(AddressError::Invalid {
                            name: "channel_binding",
                            rule: "disable, prefer or require",
                        });
                    }
                };
                config.channel_binding(wanted);
            }
            "sslmode" => self.ssl_mode = Some(ssl_mode(value)?),
            "requiressl" => {
                // The name before sslmode: 1 is require, 0 is prefer.
                let mode = if value.starts_with('1') { SslMode::Require } else { SslMode::Prefer };
                self.ssl_mode = Some(mode);
            }
            "sslrootcert" => {
                address.root_certs = match value {
                    "" => RootCerts::Default,
                    "system" => RootCerts::System,
                    file => RootCerts::File(PathBuf::from(file)),
                };
            }
            "sslnegotiation" => {
                let wanted = match value {
                    "postgres" => SslNegotiation::Postgres,
                    "direct" => SslNegotiation::Direct,
                    _ => {
                        return Err(AddressError::Invalid {
                            name: "sslnegotiation",
                            rule: "postgres or direct",
                        });
                    }
                };
                config.ssl_negotiation(wanted);
            }
            "sslsni" => address.sni = integer("sslsni", value)? != 0,
            "ssl_min_protocol_version" => {
                address.oldest_tls = tls_version("ssl_min_protocol_version", value, true)?;
            }
            "ssl_max_protocol_version" => {
                address.newest_tls = tls_version("ssl_max_protocol_version", value, false)?;
            }
            // No server of today compresses, and libpq ignores it too.
            "sslcompression" => drop(integer("sslcompression", value)?),
            "sslcertmode" if matches!(value, "disable" | "allow") => {}
            "sslcertmode" => {
                return Err(AddressError::Invalid {
                    name: "sslcertmode",
                    rule: "disable or allow: Tenure does not send client certificates",
                });
            }
            // Tenure never encrypts by GSSAPI, which these two allow.
            "gssencmode" if matches!(value, "disable" | "prefer") => {}
            "gssencmode" => {
                return Err(AddressError::Invalid {
                    name: "gssencmode",
                    rule: "disable or prefer: Tenure does not speak GSSAPI; encrypt with sslmode",
                });
            }
            "client_encoding"
                if matches!(value.to_ascii_lowercase().as_str(), "utf8" | "utf-8" | "unicode" | "auto") => {}
            "client_encoding" => {
                return Err(AddressError::Invalid { name: "client_encoding", rule: "UTF8" });
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn finish(mut self) -> Result<Address, AddressError> {
        self.set_hosts()?;
        let address = &mut self.address;
        let weakest =
            if address.root_certs == RootCerts::System { SslMode::VerifyFull } else { SslMode::Prefer };
        let mode = self.ssl_mode.unwrap_or(weakest);
        if address.root_certs == RootCerts::System && mode < SslMode::VerifyFull {
            // Everybody can get a certificate from some authority that the system trusts.
            return Err(AddressError::Invalid {
                name: "sslmode",
                rule: "verify-full with sslrootcert=system: a weaker one would accept any public certificate",
            });
        }
        if address.config.get_ssl_negotiation() == SslNegotiation::Direct && mode < SslMode::Require {
            return Err(AddressError::Invalid {
                name: "sslmode",
                rule: "require, verify-ca or verify-full with sslnegotiation=direct",
            });
        }
        if address.newest_tls < address.oldest_tls {
            return Err(AddressError::Invalid {
                name: "ssl_max_protocol_version",
                rule: "no older than ssl_min_protocol_version",
            });
        }
        address.ssl_mode = mode;
        address.config.ssl_mode(match mode {
            SslMode::Disable => tokio_postgres::config::SslMode::Disable,
            SslMode::Prefer => tokio_postgres::config::SslMode::Prefer,
            SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull => {
                tokio_postgres::config::SslMode::Require
            }
        });
        Ok(self.address)
    }

    fn set_hosts(&mut self) -> Result<(), AddressError> {
        let config = &mut self.address.config;
        let addresses: Vec<&str> = self.addresses.iter().flat_map(|all| all.split(',')).collect();
        let hosts: Vec<&str> = self.hosts.iter().flat_map(|all| all.split(',')).collect();
        if !hosts.is_empty() && !addresses.is_empty() && hosts.len() != addresses.len() {
            return Err(AddressError::Invalid {
                name: "hostaddr",
                rule: "as many addresses as there are hosts",
            });
        }
        for address in &addresses {
            let malformed =
                |_| AddressError::Invalid { name: "hostaddr", rule: "IP addresses, separated by commas" };
            config.hostaddr(address.parse().map_err(malformed)?);
        }
        match (hosts.as_slice(), addresses.as_slice()) {
            ([], []) => drop(config.host_path(DEFAULT_SOCKET_DIR)),
            // The driver wants a name for TLS, which nothing is compared with unless it is verified.
            ([], addresses) => {
                for address in addresses {
                    config.host(*address);
                }
            }
            (hosts, _) => {
                for host in hosts {
                    match *host {
                        "" => config.host_path(DEFAULT_SOCKET_DIR),
                        host => config.host(host),
                    };
                }
            }
        }
        let ports: Vec<&str> = self.ports.iter().flat_map(|all| all.split(',')).collect();
        let count = config.get_hosts().len();
        if ports.len() > 1 && ports.len() != count {
            return Err(AddressError::Invalid {
                name: "port",
                rule: "one port, or as many as there are hosts",
            });
        }
        for port in ports.into_iter().map(str::trim) {
            let malformed = AddressError::Invalid { name: "port", rule: "1 to 65535" };
            let port =
                if port.is_empty() { DEFAULT_PORT } else { port.parse().map_err(|_| malformed.clone())? };
            if port == 0 {
                return Err(malformed);
            }
            config.port(port);
        }
        Ok(())
    }
}

/// Where Debian's and most other packages put the socket.
const DEFAULT_SOCKET_DIR: &str = "/var/run/postgresql";

const DEFAULT_PORT: u16 = 5_432;

fn integer(name: &'static str, value: &str) -> Result<i64, AddressError> {
    value.trim().parse().map_err(|_| AddressError::Invalid { name, rule: "a whole number" })
}

fn ssl_mode(mode: &str) -> Result<SslMode, AddressError> {
    match mode {
        "disable" => Ok(SslMode::Disable),
        "allow" | "prefer" => Ok(SslMode::Prefer),
        "require" => Ok(SslMode::Require),
        "verify-ca" => Ok(SslMode::VerifyCa),
        "verify-full" => Ok(SslMode::VerifyFull),
        _ => Err(AddressError::SslMode),
    }
}

/// Older versions than 1.2 are never spoken: as the oldest they ask for less than that, as the newest for the impossible.
fn tls_version(name: &'static str, value: &str, oldest: bool) -> Result<TlsVersion, AddressError> {
    match value {
        "" | "TLSv1" | "TLSv1.1" if oldest => Ok(TlsVersion::Tls12),
        "TLSv1.2" => Ok(TlsVersion::Tls12),
        "" | "TLSv1.3" => Ok(TlsVersion::Tls13),
        _ => Err(AddressError::Invalid { name, rule: "TLSv1.2 or TLSv1.3" }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Address, AddressError> {
        text.parse()
    }

    #[test]
    fn every_sslmode_of_libpq_is_understood() {
        for (text, mode) in [
            ("disable", SslMode::Disable),
            ("allow", SslMode::Prefer),
            ("prefer", SslMode::Prefer),
            ("require", SslMode::Require),
            ("verify-ca", SslMode::VerifyCa),
            ("verify-full", SslMode::VerifyFull),
        ] {
            let url = parse(&format!("postgres://u:p@h:5/d?sslmode={text}&application_name=x")).unwrap();
            assert_eq!(url.ssl_mode, mode);
            assert_eq!(url.config.get_application_name(), Some("x"));
            assert_eq!(parse(&format!("host=h dbname=d sslmode={text}")).unwrap().ssl_mode, mode);
        }
        assert_eq!(parse("postgres://h/d?sslmode=maybe").unwrap_err(), AddressError::SslMode);
        assert!(parse("host=h sslmode=''").is_err());
    }

    #[test]
    fn no_way_of_writing_it_loses_an_sslmode() {
        for text in [
            "postgres://u:a?b@h/d?sslmode=require",
            "postgres://u:a?sslmode=disable@h/d?sslmode=require",
            "postgres://u:p@h/d?%73slmode=require",
            "postgres://u:p@h/d?sslmode=%72equire",
            "postgres://u:p@h?sslmode=require",
            "postgresql://u:p@h/?sslmode=require",
            "postgres://h/d?ssl=true",
            "postgres://h/d?sslmode=disable&sslmode=require",
            "host=h sslmode = require",
            "host=h sslmode= 'require'",
            "host=h\tsslmode\t=\trequire",
            "host=h password='sslmode=disable  x' sslmode=require",
            "host=h requiressl=1",
            "host=h requiressl=10",
            "host=h sslmode=require sslcert='' dbname=''",
            "postgres://h/d?sslmode=require&",
        ] {
            let address = parse(text).unwrap();
            assert_eq!(address.ssl_mode, SslMode::Require, "{text}");
            assert_eq!(address.config.get_ssl_mode(), tokio_postgres::config::SslMode::Require, "{text}");
        }
        let quoted = parse("host=h password='two  blanks' sslmode=require").unwrap();
        assert_eq!(quoted.config.get_password(), Some(b"two  blanks".as_slice()));
    }

    #[test]
    fn parameters_that_cannot_be_carried_out_are_refused_by_name() {
        for (parameter, name) in [
            ("pgbouncer=true", "pgbouncer"),
            ("sslcert=a.pem", "sslcert"),
            ("gssencmode=require", "gssencmode"),
            ("schema=public", "schema"),
            ("connection_limit=5", "connection_limit"),
            ("sslcrl=x", "sslcrl"),
            ("require_auth=scram-sha-256", "require_auth"),
            ("requirepeer=postgres", "requirepeer"),
            ("target_session_attrs=standby", "target_session_attrs"),
            ("channel_binding=maybe", "channel_binding"),
            ("connect_timeout=soon", "connect_timeout"),
            ("ssl_max_protocol_version=TLSv1.1", "ssl_max_protocol_version"),
            ("port=http", "port"),
            ("hostaddr=example.org", "hostaddr"),
            ("client_encoding=LATIN1", "client_encoding"),
        ] {
            for text in [
                format!("postgres://u:hunter2@h/d?{parameter}"),
                format!("host=h password=hunter2x user=u {parameter}"),
            ] {
                let error = parse(&text).unwrap_err().to_string();
                assert!(
                    error.contains(&format!("`{name}`")) && !error.contains("hunter2"),
                    "{text}: {error}"
                );
            }
        }
    }

    #[test]
    fn parameters_that_ask_for_what_is_so_anyway_are_taken() {
        let text = "host=h gssencmode=prefer sslcompression=0 sslsni=1 client_encoding=UTF8 keepalives=1 \
                    keepalives_idle=10 tcp_user_timeout=5000 connect_timeout=3 fallback_application_name=x \
                    target_session_attrs=primary load_balance_hosts=random ssl_min_protocol_version=TLSv1.1";
        let address = parse(text).unwrap();
        assert_eq!(address.config.get_connect_timeout(), Some(&Duration::from_secs(3)));
        assert_eq!(address.config.get_application_name(), Some("x"));
        assert_eq!(address.oldest_tls, TlsVersion::Tls12);
    }

    #[test]
    fn the_root_certificate_is_decoded_and_the_systems_asks_for_verification() {
        let url = parse("postgres://h/d?sslrootcert=/a%20b/ca.pem&sslmode=verify-full").unwrap();
        assert_eq!(url.root_certs, RootCerts::File(PathBuf::from("/a b/ca.pem")));
        assert_eq!(parse("host=h sslrootcert=system").unwrap().ssl_mode, SslMode::VerifyFull);
        assert!(parse("host=h sslrootcert=system sslmode=require").is_err());
    }

    #[test]
    fn tls_is_not_asked_of_a_socket() {
        let address = parse("host=/run/pg,h port=1,2 sslmode=verify-full user=u").unwrap();
        let configs = address.configs();
        assert_eq!(configs[0].get_ssl_mode(), tokio_postgres::config::SslMode::Disable);
        assert_eq!(configs[1].get_ssl_mode(), tokio_postgres::config::SslMode::Require);
        assert_eq!((configs[0].get_ports(), configs[1].get_ports()), (&[1][..], &[2][..]));
        assert_eq!(configs[1].get_user(), Some("u"));
        assert!(!parse("host=/run/pg sslmode=verify-full").unwrap().has_tcp_host());
        // An address makes it TCP, whatever the host is called.
        let address = parse("host=/run/pg hostaddr=127.0.0.1 sslmode=require").unwrap();
        assert!(address.has_tcp_host());
        assert_eq!(address.configs()[0].get_ssl_mode(), tokio_postgres::config::SslMode::Require);
        assert!(matches!(address.configs()[0].get_hosts(), [Host::Tcp(_)]));
    }

    #[test]
    fn a_password_is_never_shown() {
        let url = parse("postgres://user:hunter2@host:5433/db").unwrap();
        assert_eq!(format!("{url:?}"), "host port 5433 database db");
        for text in [
            "postgres://user:hunter2@host:port/db",
            "host=h sslmode= password=hunter2",
            "host=h user= password=hunter2",
            "postgres://u:p@hunter2@h/d",
            "postgres://u:/hunter2@h/d",
            "postgres://u:123/hunter2@h/d",
            "postgres://u:a@b/x?sslmode=hunter2@h/d",
            "password='it'hunter2=5",
            "host=h sslmode=hunter2",
        ] {
            let wrong = parse(text).unwrap_err();
            assert!(!format!("{wrong} {wrong:?}").contains("hunter2"), "{text}: {wrong}");
        }
    }
}
