//! Settings: flags over environment over a TOML file over defaults.

mod doors;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use secrecy::SecretString;
use serde::Deserialize;

use crate::aggregates::field::Invalid;
use crate::aggregates::source::Retention;
use crate::credentials::master_key::MasterKeySource;
use crate::engine::Rules;
use crate::http::DoorSettings;
use crate::postgres::{Address, AddressError};

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
    doors: doors::DoorFlags,
    /// JSON for scripts instead of text for people
    #[arg(long, global = true)]
    pub json: bool,
}

/// The settings file.
#[allow(clippy::struct_field_names)] // the settings are named like the flags
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    data_dir: Option<PathBuf>,
    database_url: Option<String>,
    postgres_bin: Option<PathBuf>,
    master_key_file: Option<PathBuf>,
    forgotten_list: Option<PathBuf>,
    key_sentinel: Option<String>,
    invite_ttl_seconds: Option<u64>,
    pipe_ttl_seconds: Option<u64>,
    pipe_max_msgs: Option<i64>,
    pipe_max_bytes: Option<i64>,
    listen: Option<SocketAddr>,
    metrics_listen: Option<SocketAddr>,
    connections: Option<usize>,
    public_url: Option<String>,
    dev_sign_in: Option<bool>,
    trusted_proxies: Option<Vec<String>>,
    github_client_id: Option<String>,
    github_client_secret_file: Option<PathBuf>,
    github_url: Option<String>,
    github_api_url: Option<String>,
    device_code_ttl: Option<u64>,
    device_interval: Option<u64>,
    token_ttl: Option<u64>,
    session_ttl: Option<u64>,
    #[serde(default)]
    limits: doors::LimitsFile,
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
    pub doors: DoorSettings,
    /// A running Tenure to talk to.
    pub server: Option<String>,
    /// A credential for it.
    pub token: Option<SecretString>,
    /// Whether a database is named: then no login that is stored counts.
    pub names_a_database: bool,
    /// Whether to print JSON.
    pub json: bool,
}

/// Why settings are refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The settings file cannot be read.
    #[error("the settings file {}: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The connection string is refused.
    #[error(transparent)]
    Url(#[from] AddressError),
    /// Metrics would be reachable from elsewhere.
    #[error("metrics_listen must be a loopback address, not {0}")]
    NotLoopback(SocketAddr),
    /// A sentinel that no key could be told by.
    #[error("key_sentinel: 1 to 16 of a-z and 0-9")]
    Sentinel,
    /// What pipes keep by default is out of its bounds.
    #[error("pipe defaults: {0}")]
    PipeDefaults(#[from] Invalid),
    /// A setting of the doors is malformed.
    #[error("{setting}: {rule}")]
    Door {
        /// Which.
        setting: &'static str,
        /// What a right value looks like.
        rule: &'static str,
    },
    /// Fewer than two connections cannot work.
    #[error("connections: at least 2, at most 1000")]
    Connections,
}

impl Flags {
    /// Brings flags, environment and file together.
    ///
    /// # Errors
    /// See [`ConfigError`].
    pub fn settle(self) -> Result<Config, ConfigError> {
        let file = self.config.as_deref().map(read).transpose()?.unwrap_or_default();
        let mut rules = rules(self.key_sentinel, &file)?;
        file.limits.apply(&mut rules.limits);
        let listen = self.listen.or(file.listen).unwrap_or(SocketAddr::from(([127, 0, 0, 1], 8_080)));
        let doors = self.doors.settle(&file, listen)?;
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
        rules.invite_life = Duration::from_secs(seconds);
    }
    let ttl_seconds = file.pipe_ttl_seconds.map(|seconds| i64::try_from(seconds).unwrap_or(i64::MAX));
    let kept = Retention::new(ttl_seconds, file.pipe_max_msgs, file.pipe_max_bytes)?;
    let defaults = &mut rules.retention;
    defaults.ttl = file.pipe_ttl_seconds.map_or(defaults.ttl, Duration::from_secs);
    defaults.max_msgs = kept.max_msgs.unwrap_or(defaults.max_msgs);
    defaults.max_bytes = kept.max_bytes.unwrap_or(defaults.max_bytes);
    Ok(rules)
}

fn read(path: &Path) -> Result<File, ConfigError> {
    let failed = |reason: String| ConfigError::File { path: path.to_owned(), reason };
    let text = std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
    // The parser's own message would quote the line, which may hold a password.
    toml::from_str(&text).map_err(|error| failed(error.message().to_owned()))
}
