//! Settings: flags over environment over a TOML file over defaults.

mod error;
mod file;
mod http;

pub use error::ConfigError;
use file::File;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use secrecy::SecretString;

use crate::aggregates::source::Retention;
use crate::credentials::master_key::MasterKeySource;
use crate::http::HttpSettings;
use crate::operations::Rules;
use crate::postgres::Address;

/// What every command can be told.
#[derive(Args, Clone)]
pub struct Flags {
    /// A TOML file with settings, named like the flags with underscores
    #[arg(long, global = true, env = "TENURE_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where the private PostgreSQL and the master key live [default: ./.tenure]
    #[arg(long, global = true, env = "TENURE_DATA_DIR", value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// A PostgreSQL 15 or newer to use instead of a private one
    #[arg(long, global = true, env = "DATABASE_URL", hide_env_values = true, value_name = "URL")]
    database_url: Option<String>,
    /// The directory of initdb and postgres, for the private PostgreSQL
    #[arg(long, global = true, env = "TENURE_POSTGRES_BIN", value_name = "DIR")]
    postgres_bin: Option<PathBuf>,
    /// The file of the master key [default: master.key in the data directory]
    #[arg(long, global = true, env = "TENURE_MASTER_KEY_FILE", value_name = "FILE")]
    master_key_file: Option<PathBuf>,
    /// The list of the forgotten, kept outside the database [default: forgotten.list in the data directory]
    #[arg(long, global = true, env = "TENURE_FORGOTTEN_LIST", value_name = "FILE")]
    forgotten_list: Option<PathBuf>,
    /// What API keys and tokens begin with, before the first `_` [default: ppz]
    #[arg(long, global = true, env = "TENURE_KEY_SENTINEL", value_name = "TEXT")]
    key_sentinel: Option<String>,
    /// The address to serve on [default: 127.0.0.1:8080]
    #[arg(long, global = true, env = "TENURE_LISTEN", value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// The loopback address of /metrics [default: 127.0.0.1:9464]
    #[arg(long, global = true, env = "TENURE_METRICS_LISTEN", value_name = "ADDRESS")]
    metrics_listen: Option<SocketAddr>,
    /// The most connections that this node's reading pool opens [default: 16]
    #[arg(long, global = true, env = "TENURE_CONNECTIONS", value_name = "N")]
    connections: Option<usize>,
    /// A running Tenure to talk to, instead of the database
    #[arg(long, global = true, env = "TENURE_SERVER", value_name = "URL")]
    server: Option<String>,
    /// A bearer token or an API key for it [default: what `tenure login` has stored]
    #[arg(long, global = true, env = "TENURE_TOKEN", hide_env_values = true, value_name = "SECRET")]
    token: Option<String>,
    #[command(flatten)]
    doors: http::HttpFlags,
    /// JSON for scripts instead of text for people
    #[arg(long, global = true)]
    pub json: bool,
}

/// The settings in force.
#[derive(Clone)]
pub struct Config {
    /// Where the private PostgreSQL and the master key live.
    pub data_dir: PathBuf,
    /// A database to use instead of a private one.
    pub database: Option<Address>,
    /// The directory of `initdb` and `postgres`.
    pub postgres_bin: Option<PathBuf>,
    /// Where the master key is looked for.
    pub master_key: MasterKeySource,
    /// Where the list of the forgotten is kept.
    pub forgotten_list: PathBuf,
    /// What the instance sets for itself.
    pub rules: Rules,
    /// The address to serve on.
    pub listen: SocketAddr,
    /// The loopback address of `/metrics`.
    pub metrics_listen: SocketAddr,
    /// The most connections of the reading pool.
    pub connections: usize,
    /// The doors.
    pub doors: HttpSettings,
    /// A running Tenure to talk to.
    pub server: Option<String>,
    /// A credential for it.
    pub token: Option<SecretString>,
    /// Whether a database is named: then no login that is stored counts.
    pub names_a_database: bool,
    /// Whether to print JSON.
    pub json: bool,
}

impl Flags {
    /// Brings flags, environment and file together.
    ///
    /// # Errors
    /// See [`ConfigError`].
    pub fn resolve(self) -> Result<Config, ConfigError> {
        let file = self.config.as_deref().map(file::read).transpose()?.unwrap_or_default();
        let mut rules = rules(self.key_sentinel, &file)?;
        file.limits.apply(&mut rules.limits);
        let listen = self.listen.or(file.listen).unwrap_or(SocketAddr::from(([127, 0, 0, 1], 8_080)));
        let doors = self.doors.resolve(&file, listen)?;
        // In a file as good as in a flag: what was logged in to elsewhere is another instance.
        let names_a_database = self.data_dir.is_some()
            || file.data_dir.is_some()
            || [&self.database_url, &file.database_url].into_iter().flatten().any(|url| !url.is_empty());
        let data_dir = self.data_dir.or(file.data_dir).unwrap_or_else(|| PathBuf::from(".tenure"));
        let url = self.database_url.or(file.database_url).filter(|url| !url.is_empty());
        let metrics_listen =
            self.metrics_listen.or(file.metrics_listen).unwrap_or(SocketAddr::from(([127, 0, 0, 1], 9_464)));
        if !metrics_listen.ip().is_loopback() {
            return Err(ConfigError::NotLoopback(metrics_listen));
        }
        let connections = self.connections.or(file.connections).unwrap_or(16);
        if !(2..=1_000).contains(&connections) {
            return Err(ConfigError::Connections);
        }
        let master_key = MasterKeySource {
            value: std::env::var("TENURE_MASTER_KEY").ok().map(SecretString::from),
            file: self.master_key_file.or(file.master_key_file),
            default_file: data_dir.join("master.key"),
        };
        let forgotten_list =
            self.forgotten_list.or(file.forgotten_list).unwrap_or_else(|| data_dir.join("forgotten.list"));
        Ok(Config {
            server: self.server.filter(|url| !url.is_empty()),
            token: self.token.filter(|token| !token.is_empty()).map(SecretString::from),
            names_a_database,
            doors,
            forgotten_list,
            rules,
            database: url.map(|url| url.parse()).transpose()?,
            postgres_bin: self.postgres_bin.or(file.postgres_bin),
            master_key,
            listen,
            metrics_listen,
            connections,
            data_dir,
            json: self.json,
        })
    }
}

/// What the instance sets for itself, held to its bounds.
fn rules(sentinel: Option<String>, file: &File) -> Result<Rules, ConfigError> {
    let mut rules = Rules::default();
    if let Some(sentinel) = sentinel.or_else(|| file.key_sentinel.clone()) {
        let plain = |octet: u8| octet.is_ascii_lowercase() || octet.is_ascii_digit();
        if !(1..=16).contains(&sentinel.len()) || !sentinel.bytes().all(plain) {
            return Err(ConfigError::Sentinel);
        }
        rules.sentinel = sentinel;
    }
    if let Some(seconds) = file.invite_ttl_seconds {
        rules.invite_ttl = Duration::from_secs(seconds);
    }
    let ttl_seconds = file.pipe_ttl_seconds.map(|seconds| i64::try_from(seconds).unwrap_or(i64::MAX));
    let kept = Retention::new(ttl_seconds, file.pipe_max_msgs, file.pipe_max_bytes)?;
    let defaults = &mut rules.retention;
    defaults.ttl = file.pipe_ttl_seconds.map_or(defaults.ttl, Duration::from_secs);
    defaults.max_msgs = kept.max_msgs.unwrap_or(defaults.max_msgs);
    defaults.max_bytes = kept.max_bytes.unwrap_or(defaults.max_bytes);
    Ok(rules)
}
