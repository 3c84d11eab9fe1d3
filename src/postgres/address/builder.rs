//! Builds an address from the parameters of a connection string. Every libpq parameter is applied, accepted as having
//! no effect, or refused by name.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use tokio_postgres::config::{ChannelBinding, LoadBalanceHosts, SslNegotiation, TargetSessionAttrs};

use super::conninfo;
use super::error::AddressError;
use super::{Address, DEFAULT_PORT, RootCerts, SslMode, TlsVersion};

/// The environment variables of libpq that can make a connection safer, the parameters that they stand for, and the values that would not.
const VARIABLES: &[(&str, &str, &[&str])] = &[
    // Before the one that replaces it.
    ("PGREQUIRESSL", "requiressl", &["0"]),
    ("PGSSLMODE", "sslmode", &["disable", "allow", "prefer"]),
    ("PGSSLROOTCERT", "sslrootcert", &[]),
    ("PGSSLCRL", "sslcrl", &[]),
    ("PGSSLCRLDIR", "sslcrldir", &[]),
    ("PGSSLMINPROTOCOLVERSION", "ssl_min_protocol_version", &[]),
    ("PGCHANNELBINDING", "channel_binding", &["disable", "prefer"]),
    ("PGGSSENCMODE", "gssencmode", &["disable", "prefer"]),
    ("PGREQUIREAUTH", "require_auth", &[]),
    ("PGREQUIREPEER", "requirepeer", &[]),
    ("PGSSLCERTMODE", "sslcertmode", &["disable", "allow"]),
    // It may say any of these.
    ("PGSERVICE", "service", &[]),
];

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        Self::parse(text, |_| None)
    }
}

impl Address {
    /// Parses a connection string. `variable` gives the values of libpq's environment variables, which stand for what the string leaves
    /// out where they make the connection safer.
    ///
    /// # Errors
    /// See [`AddressError`].
    pub fn parse(text: &str, variable: impl Fn(&str) -> Option<String>) -> Result<Self, AddressError> {
        let mut builder =
            Builder { address: Self::nowhere(), ssl_mode: None, hosts: None, addresses: None, ports: None };
        let parameters = conninfo::parse(text)?;
        for (name, parameter, weak) in VARIABLES {
            let is_given = |given: &conninfo::Parameter| {
                given.name == *parameter || *name == "PGREQUIRESSL" && given.name == "sslmode"
            };
            let is_set = |value: &String| !value.is_empty() && !weak.contains(&&**value);
            let value = variable(name).filter(is_set);
            if let Some(value) = value.filter(|_| !parameters.iter().any(is_given)) {
                let set = builder.set(parameter, &value);
                set.map_err(|error| AddressError::Variable { name, error: Box::new(error) })?;
            }
        }
        for conninfo::Parameter { name, value, name_is_safe } in parameters {
            if !builder.set(&name, &value)? {
                // An unknown name may be a piece of a password, which must not reach logs and terminals.
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

/// An address that is being built. Parameters that depend on each other are collected first.
struct Builder {
    address: Address,
    ssl_mode: Option<SslMode>,
    hosts: Option<String>,
    addresses: Option<String>,
    ports: Option<String>,
}

/// The libpq parameters that are not safe to ignore, and what to do instead.
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
    ("sslcrl", "Tenure does not read revocation lists; remove it, or check revocation in a local proxy"),
    ("sslcrldir", "Tenure does not read revocation lists; remove it, or check revocation in a local proxy"),
    ("sslkeylogfile", "remove it"),
    ("requirepeer", "remove it, and restrict access to the socket's directory"),
    ("require_auth", "remove it, and set channel_binding=require or sslmode=verify-full"),
    ("krbsrvname", "Tenure does not support GSSAPI; use a password"),
    ("gsslib", "Tenure does not support GSSAPI; use a password"),
    ("gssdelegation", "Tenure does not support GSSAPI; use a password"),
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
    /// Applies a parameter. Returns `false` if libpq does not know it.
    #[allow(clippy::too_many_lines)] // a table with one arm per parameter
    fn set(&mut self, name: &str, value: &str) -> Result<bool, AddressError> {
        if let Some((name, advice)) = UNSUPPORTED.iter().find(|(unsupported, _)| *unsupported == name) {
            // As in libpq, an empty value counts as not set.
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
            // As in libpq, an empty value counts as not set.
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
                // As in libpq, 0 and less count as not set. Then the connection's own default limit applies; Tenure
                // never waits without one.
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
                            rule: "any, read-write or primary: Tenure works only with a primary",
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
                // The predecessor of sslmode: 1 is require, 0 is prefer.
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
            // No supported server compresses, and libpq ignores it too.
            "sslcompression" => drop(integer("sslcompression", value)?),
            "sslcertmode" if matches!(value, "disable" | "allow") => {}
            "sslcertmode" => {
                return Err(AddressError::Invalid {
                    name: "sslcertmode",
                    rule: "disable or allow: Tenure does not send client certificates",
                });
            }
            // Tenure never encrypts with GSSAPI, which both values allow.
            "gssencmode" if matches!(value, "disable" | "prefer") => {}
            "gssencmode" => {
                return Err(AddressError::Invalid {
                    name: "gssencmode",
                    rule: "disable or prefer: Tenure does not support GSSAPI; encrypt with sslmode",
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
            // Any attacker can get a certificate for a domain of their own from a public authority.
            return Err(AddressError::Invalid {
                name: "sslmode",
                rule: "verify-full with sslrootcert=system: a weaker mode would accept any public certificate",
            });
        }
        // As in libpq: direct TLS has no negotiation in which a weaker mode could choose plain text.
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
            return Err(AddressError::Invalid { name: "hostaddr", rule: "one address for each host" });
        }
        for address in &addresses {
            let malformed =
                |_| AddressError::Invalid { name: "hostaddr", rule: "IP addresses, separated by commas" };
            config.hostaddr(address.parse().map_err(malformed)?);
        }
        match (hosts.as_slice(), addresses.as_slice()) {
            ([], []) => drop(config.host_path(DEFAULT_SOCKET_DIR)),
            // The driver needs a host name for TLS; only verify-full compares it with the certificate.
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
            return Err(AddressError::Invalid { name: "port", rule: "one port, or one for each host" });
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

/// The directory in which Debian and most other packages put the socket.
const DEFAULT_SOCKET_DIR: &str = "/var/run/postgresql";

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

/// Parses a TLS version. Versions before 1.2 are not supported: as the oldest version they are raised to 1.2, as the
/// newest they are refused.
fn tls_version(name: &'static str, value: &str, oldest: bool) -> Result<TlsVersion, AddressError> {
    match value {
        "" | "TLSv1" | "TLSv1.1" if oldest => Ok(TlsVersion::Tls12),
        "TLSv1.2" => Ok(TlsVersion::Tls12),
        "" | "TLSv1.3" => Ok(TlsVersion::Tls13),
        _ => Err(AddressError::Invalid { name, rule: "TLSv1.2 or TLSv1.3" }),
    }
}
