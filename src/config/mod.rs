//! Settings from flags, environment, a TOML file and defaults, in this order of precedence.

pub mod duration;
mod error;
mod file;
pub mod heading;
mod http;
mod listen;
mod nats;

use duration::duration;
pub use error::ConfigError;
use file::File;
use heading::{HTTP, INSTANCE, OUTPUT, REMOTE};
use listen::listen_address;
pub use nats::NatsConfig;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use secrecy::SecretString;

use crate::aggregates::source::Retention;
use crate::credentials::master_key::MasterKeySource;
use crate::engine::CLEAR_EVERY;
use crate::http::HttpSettings;
use crate::operations::Rules;
use crate::postgres::Address;
use crate::postgres::migrate::Replacing;
use crate::replay::Verification;

/// The data directory if none is configured.
pub const DEFAULT_DATA_DIR: &str = ".tenure";

/// The flags that every command accepts.
#[derive(Args, Clone)]
pub struct Flags {
    /// A TOML file with settings, named like the flags with underscores
    #[arg(long, global = true, help_heading = INSTANCE, env = "TENURE_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// The directory of the private PostgreSQL and the master key [default: ./.tenure]
    #[arg(long, global = true, help_heading = INSTANCE, env = "TENURE_DATA_DIR", value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// The URL of a PostgreSQL database (version 15 or newer) to use instead of a private one
    #[arg(long, global = true, help_heading = INSTANCE, env = "DATABASE_URL", hide_env_values = true, value_name = "URL")]
    database_url: Option<String>,
    /// The directory that contains initdb and postgres, for the private PostgreSQL
    #[arg(long, global = true, help_heading = INSTANCE, env = "TENURE_POSTGRES_BIN", value_name = "DIR")]
    postgres_bin: Option<PathBuf>,
    /// The file that contains the master key [default: master.key in the data directory]
    #[arg(long, global = true, help_heading = INSTANCE, env = "TENURE_MASTER_KEY_FILE", value_name = "FILE")]
    master_key_file: Option<PathBuf>,
    /// The file of the master key that `tenure keys rotate` changes to [default: that of the master key with .next added]
    #[arg(long, global = true, help_heading = INSTANCE, env = "TENURE_NEXT_MASTER_KEY_FILE", value_name = "FILE")]
    next_master_key_file: Option<PathBuf>,
    /// The file that lists forgotten users, kept outside the database [default: forgotten.list in the data directory]
    #[arg(long, global = true, help_heading = INSTANCE, env = "TENURE_FORGOTTEN_LIST", value_name = "FILE")]
    forgotten_list: Option<PathBuf>,
    /// The prefix of API keys and tokens, before the first `_`: 1 to 16 characters of a-z and 0-9 [default: ppz]
    #[arg(long, global = true, help_heading = INSTANCE, env = "TENURE_KEY_SENTINEL", value_name = "TEXT")]
    key_sentinel: Option<String>,
    /// The address to serve HTTP on: IP:PORT, NAME:PORT, or :PORT for all IPv4 addresses [default: 127.0.0.1:8080]
    #[arg(long, global = true, help_heading = HTTP, hide = true, env = "TENURE_LISTEN", value_name = "ADDRESS", value_parser = listen_address)]
    listen: Option<SocketAddr>,
    /// The loopback address to serve /metrics on, as IP:PORT or localhost:PORT [default: 127.0.0.1:9464]
    #[arg(long, global = true, help_heading = HTTP, hide = true, env = "TENURE_METRICS_LISTEN", value_name = "ADDRESS", value_parser = listen_address)]
    metrics_listen: Option<SocketAddr>,
    /// The maximum number of database connections in this node's read pool, 2 to 1000 [default: 16]
    #[arg(long, global = true, help_heading = INSTANCE, env = "TENURE_CONNECTIONS", value_name = "N")]
    connections: Option<usize>,
    /// How long to wait for other transactions that read the projections, such as dumps, before they are replaced [default: 10m]
    #[arg(long, global = true, help_heading = INSTANCE, env = "TENURE_SWAP_WAIT", value_name = "DURATION", value_parser = duration)]
    swap_wait: Option<Duration>,
    /// How long to wait for nodes of another release to stop writing, before their projections are replaced [default: 1m]
    #[arg(long, global = true, help_heading = INSTANCE, env = "TENURE_DRAIN_TIMEOUT", value_name = "DURATION", value_parser = duration)]
    drain_timeout: Option<Duration>,
    /// How often this node compares the projections with the log, at least 1m [default: never]
    #[arg(long, global = true, help_heading = HTTP, hide = true, env = "TENURE_AUDIT_EVERY", value_name = "DURATION", value_parser = duration)]
    audit_every: Option<Duration>,
    /// The URL of a running Tenure server to use instead of a database
    #[arg(long, global = true, help_heading = REMOTE, env = "TENURE_SERVER", value_name = "URL")]
    server: Option<String>,
    /// A bearer token or an API key for the server [default: the token stored by `tenure login`]
    #[arg(long, global = true, help_heading = REMOTE, env = "TENURE_TOKEN", hide_env_values = true, value_name = "SECRET")]
    token: Option<String>,
    #[command(flatten)]
    http: http::HttpFlags,
    #[command(flatten)]
    nats: nats::NatsFlags,
    /// Print JSON instead of text
    #[arg(long, global = true, help_heading = OUTPUT)]
    pub json: bool,
}

/// The settings in force.
#[derive(Clone)]
pub struct Config {
    /// The settings file that was read.
    pub settings_file: Option<PathBuf>,
    /// The directory of the private PostgreSQL and, by default, the master key.
    pub data_dir: PathBuf,
    /// The address of a database; `None` for the private PostgreSQL.
    pub database: Option<Address>,
    /// The directory that contains `initdb` and `postgres`; `None` to search the usual places.
    pub postgres_bin: Option<PathBuf>,
    /// Where to look for the master key.
    pub master_key: MasterKeySource,
    /// The file that lists forgotten users, outside the database.
    pub forgotten_list: PathBuf,
    /// The rules of this instance: key sentinel, invite lifetime, pipe defaults and limits.
    pub rules: Rules,
    /// The address to serve HTTP on.
    pub listen: SocketAddr,
    /// The loopback address to serve `/metrics` on.
    pub metrics_listen: SocketAddr,
    /// The maximum number of connections in the read pool, 2 to 1,000.
    pub connections: usize,
    /// When projections of another release are replaced by those of this one; no flag sets it.
    pub replacing: Replacing,
    /// What to do about differences that are found when projections of another release are replaced; no flag sets it.
    pub verification: Verification,
    /// How long to wait for other transactions before projections are replaced.
    pub swap_wait: Duration,
    /// How long to wait for nodes of another release to stop writing.
    pub drain_timeout: Duration,
    /// How often this node compares the projections with the log; `None` for never.
    pub audit_every: Option<Duration>,
    /// How often this node looks for endings to clear away; no flag sets it.
    pub clear_every: Duration,
    /// The settings of the HTTP interface.
    pub http: HttpSettings,
    /// How NATS is used.
    pub nats: NatsConfig,
    /// The URL of a running Tenure; `None` to use a database, or the server of a stored login.
    pub server: Option<String>,
    /// The bearer token or API key for the server; `None` to use the stored login.
    pub token: Option<SecretString>,
    /// Whether a database or data directory is configured; a stored login is then ignored.
    pub names_a_database: bool,
    /// Whether to print JSON instead of text.
    pub json: bool,
}

impl Flags {
    /// Merges flags, environment, settings file and defaults.
    ///
    /// # Errors
    /// [`ConfigError`], one variant per kind of setting: the settings file cannot be read, or a setting is invalid.
    pub fn resolve(self) -> Result<Config, ConfigError> {
        let file = self.config.as_deref().map(file::read).transpose()?.unwrap_or_default();
        let mut rules = rules(self.key_sentinel, &file)?;
        file.limits.apply(&mut rules.limits);
        let listen = self.listen.or(file.listen).unwrap_or(SocketAddr::from(([127, 0, 0, 1], 8_080)));
        let http = self.http.resolve(&file, listen)?;
        let nats = self.nats.resolve(&file)?;
        // The file counts as much as a flag: a stored login may belong to another instance.
        let names_a_database = self.data_dir.is_some()
            || file.data_dir.is_some()
            || [&self.database_url, &file.database_url].into_iter().flatten().any(|url| !url.is_empty());
        let data_dir = self.data_dir.or(file.data_dir).unwrap_or_else(|| PathBuf::from(DEFAULT_DATA_DIR));
        // An empty environment variable counts as unset.
        let url = self.database_url.or(file.database_url).filter(|url| !url.is_empty());
        let metrics_listen =
            self.metrics_listen.or(file.metrics_listen).unwrap_or(SocketAddr::from(([127, 0, 0, 1], 9_464)));
        // Metrics are served without authentication.
        if !metrics_listen.ip().is_loopback() {
            return Err(ConfigError::NotLoopback(metrics_listen));
        }
        let connections = self.connections.or(file.connections).unwrap_or(16);
        if !(2..=1_000).contains(&connections) {
            return Err(ConfigError::Connections);
        }
        let audit_every = self.audit_every.or(file.audit_every);
        // It reads the whole log.
        if audit_every.is_some_and(|every| every < Duration::from_mins(1)) {
            return Err(ConfigError::AuditEvery);
        }
        let master_key = MasterKeySource {
            value: std::env::var("TENURE_MASTER_KEY")
                .ok()
                .filter(|key| !key.is_empty())
                .map(SecretString::from),
            file: self.master_key_file.or(file.master_key_file),
            default_file: data_dir.join("master.key"),
            next_value: std::env::var("TENURE_NEXT_MASTER_KEY")
                .ok()
                .filter(|key| !key.is_empty())
                .map(SecretString::from),
            next_file: self.next_master_key_file.or(file.next_master_key_file),
        };
        let forgotten_list =
            self.forgotten_list.or(file.forgotten_list).unwrap_or_else(|| data_dir.join("forgotten.list"));
        Ok(Config {
            settings_file: self.config,
            server: self.server.filter(|url| !url.is_empty()),
            token: self.token.filter(|token| !token.is_empty()).map(SecretString::from),
            names_a_database,
            http,
            nats,
            forgotten_list,
            rules,
            database: url.map(|url| Address::parse(&url, variable)).transpose()?,
            postgres_bin: self.postgres_bin.or(file.postgres_bin),
            master_key,
            listen,
            metrics_listen,
            connections,
            swap_wait: self.swap_wait.or(file.swap_wait).unwrap_or(Duration::from_mins(10)),
            drain_timeout: self.drain_timeout.or(file.drain_timeout).unwrap_or(Duration::from_mins(1)),
            audit_every,
            clear_every: CLEAR_EVERY,
            replacing: Replacing::IfUnused,
            verification: Verification::Strict,
            data_dir,
            json: self.json,
        })
    }
}

/// The rules of this instance from flags and file, checked against their bounds.
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
    // Saturated: the check of the range refuses the value.
    let ttl_seconds = file.pipe_ttl_seconds.map(|seconds| i64::try_from(seconds).unwrap_or(i64::MAX));
    let kept = Retention::new(ttl_seconds, file.pipe_max_msgs, file.pipe_max_bytes)?;
    let defaults = &mut rules.retention;
    defaults.ttl = file.pipe_ttl_seconds.map_or(defaults.ttl, Duration::from_secs);
    defaults.max_msgs = kept.max_msgs.unwrap_or(defaults.max_msgs);
    defaults.max_bytes = kept.max_bytes.unwrap_or(defaults.max_bytes);
    Ok(rules)
}

/// The value of an environment variable. What is not UTF-8 in it is replaced and not ignored: it may be there to make something safer.
fn variable(name: &str) -> Option<String> {
    Some(std::env::var_os(name)?.to_string_lossy().into_owned())
}
