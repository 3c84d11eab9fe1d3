//! Reading a connection string, with all of libpq's `sslmode`s, of which the driver knows only some.

use std::path::PathBuf;
use std::str::FromStr;

use tokio_postgres::Config;

/// libpq's `sslmode`: how much of TLS is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SslMode {
    /// Never TLS.
    Disable,
    /// TLS if the server has it; nothing is verified.
    Prefer,
    /// TLS or nothing; nothing is verified.
    Require,
    /// The certificate must come from a trusted authority.
    VerifyCa,
    /// And it must name the host.
    VerifyFull,
}

/// Where a database is and how to speak to it.
#[derive(Clone)]
pub struct Address {
    /// The driver's configuration.
    pub config: Config,
    /// How much of TLS is asked for.
    pub ssl_mode: SslMode,
    /// A PEM file of authorities to trust instead of the system's.
    pub ssl_root_cert: Option<PathBuf>,
}

/// Why a connection string is refused; never quotes it, because it may hold a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// Not a `postgres://` URL or a `key=value` string that the driver reads.
    #[error("DATABASE_URL is neither a postgres:// URL nor a `key=value` connection string")]
    Unreadable,
    /// An `sslmode` that libpq does not have either.
    #[error("unknown sslmode `{0}`: use disable, allow, prefer, require, verify-ca or verify-full")]
    SslMode(String),
}

impl Address {
    /// A database behind a Unix socket, without a password.
    #[must_use]
    pub fn socket(directory: &std::path::Path, user: &str, database: &str) -> Self {
        let mut config = Config::new();
        config.host_path(directory).user(user).dbname(database);
        config.ssl_mode(tokio_postgres::config::SslMode::Disable);
        Self { config, ssl_mode: SslMode::Disable, ssl_root_cert: None }
    }

    /// The same server and login, another database.
    #[must_use]
    pub fn database(&self, name: &str) -> Self {
        let mut other = self.clone();
        other.config.dbname(name);
        other
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
        use tokio_postgres::config::Host;

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
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        let (text, options) = if text.contains("://") { split_query(text) } else { split_pairs(text) };
        let mut ssl_mode = SslMode::Prefer;
        let mut ssl_root_cert = None;
        for (name, value) in options {
            match name.as_str() {
                "sslrootcert" => ssl_root_cert = Some(PathBuf::from(value)),
                _ => ssl_mode = parse_mode(&value)?,
            }
        }
        let mut config = Config::from_str(&text).map_err(|_| UrlError::Unreadable)?;
        if config.get_hosts().is_empty() {
            config.host_path("/var/run/postgresql");
        }
        config.ssl_mode(match ssl_mode {
            SslMode::Disable => tokio_postgres::config::SslMode::Disable,
            SslMode::Prefer => tokio_postgres::config::SslMode::Prefer,
            _ => tokio_postgres::config::SslMode::Require,
        });
        Ok(Self { config, ssl_mode, ssl_root_cert })
    }
}

fn parse_mode(mode: &str) -> Result<SslMode, UrlError> {
    match mode {
        "disable" => Ok(SslMode::Disable),
        "allow" | "prefer" => Ok(SslMode::Prefer),
        "require" => Ok(SslMode::Require),
        "verify-ca" => Ok(SslMode::VerifyCa),
        "verify-full" => Ok(SslMode::VerifyFull),
        other => Err(UrlError::SslMode(other.to_owned())),
    }
}

fn is_tls_option(name: &str) -> bool {
    matches!(name, "sslmode" | "sslrootcert")
}

/// Takes the TLS options out of the query of a URL.
fn split_query(url: &str) -> (String, Vec<(String, String)>) {
    let Some((base, query)) = url.split_once('?') else {
        return (url.to_owned(), Vec::new());
    };
    let (tls, rest): (Vec<&str>, Vec<&str>) =
        query.split('&').partition(|pair| is_tls_option(pair.split('=').next().unwrap_or_default()));
    let rest = if rest.is_empty() { base.to_owned() } else { format!("{base}?{}", rest.join("&")) };
    let tls = tls
        .iter()
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (name.to_owned(), percent_decode(value)))
        .collect();
    (rest, tls)
}

/// Takes the TLS options out of a `key=value` string.
fn split_pairs(text: &str) -> (String, Vec<(String, String)>) {
    let (tls, rest): (Vec<&str>, Vec<&str>) =
        text.split_whitespace().partition(|pair| is_tls_option(pair.split('=').next().unwrap_or_default()));
    let tls: Vec<(String, String)> = tls
        .iter()
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.trim_matches('\'').to_owned()))
        .collect();
    if tls.is_empty() { (text.to_owned(), tls) } else { (rest.join(" "), tls) }
}

fn percent_decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escaped = (bytes[at] == b'%')
            .then(|| text.get(at + 1..at + 3).and_then(|hex| u8::from_str_radix(hex, 16).ok()))
            .flatten();
        if let Some(byte) = escaped {
            out.push(byte);
            at += 3;
        } else {
            out.push(bytes[at]);
            at += 1;
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

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
            let url: Address =
                format!("postgres://u:p@h:5/d?sslmode={text}&application_name=x").parse().unwrap();
            assert_eq!(url.ssl_mode, mode);
            assert_eq!(url.config.get_application_name(), Some("x"));
            let pairs: Address = format!("host=h dbname=d sslmode={text}").parse().unwrap();
            assert_eq!(pairs.ssl_mode, mode);
        }
        let unknown = "postgres://h/d?sslmode=maybe".parse::<Address>().unwrap_err();
        assert_eq!(unknown, UrlError::SslMode("maybe".to_owned()));
    }

    #[test]
    fn the_root_certificate_is_taken_out_and_decoded() {
        let url: Address = "postgres://h/d?sslrootcert=/a%20b/ca.pem&sslmode=verify-full".parse().unwrap();
        assert_eq!(url.ssl_root_cert.unwrap(), PathBuf::from("/a b/ca.pem"));
    }

    #[test]
    fn a_password_is_never_shown() {
        let url: Address = "postgres://user:hunter2@host:5433/db".parse().unwrap();
        assert_eq!(format!("{url:?}"), "host port 5433 database db");
        let wrong = "postgres://user:hunter2@host:port/db".parse::<Address>().unwrap_err();
        assert!(!format!("{wrong} {wrong:?}").contains("hunter2"));
    }
}
