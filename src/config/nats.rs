//! The settings of NATS.

use std::net::SocketAddr;
use std::time::Duration;

use clap::Args;
use clap::builder::BoolishValueParser;

use super::duration::duration;
use super::error::ConfigError;
use super::file::File;
use super::heading::NATS;
use super::listen::listen_address;
use crate::nats::{NatsSettings, RelayFrom, RelaySettings};

/// The flags of NATS.
#[derive(Args, Clone)]
#[allow(clippy::doc_markdown)] // these are the words of `--help`
pub(super) struct NatsFlags {
    /// The URLs of NATS servers in operator mode, separated by commas, to use instead of a private one
    #[arg(long, global = true, help_heading = NATS, hide = true, env = "NATS_URL", hide_env_values = true, value_name = "URL")]
    nats_url: Option<String>,
    /// The URL of NATS that clients are told [default: that of the servers]
    #[arg(long, global = true, help_heading = NATS, hide = true, env = "TENURE_NATS_PUBLIC_URL", value_name = "URL")]
    nats_public_url: Option<String>,
    /// The address of the private NATS, as IP:PORT [default: 127.0.0.1:4222, or another port if that is taken]
    #[arg(long, global = true, help_heading = NATS, hide = true, env = "TENURE_NATS_LISTEN", value_name = "ADDRESS", value_parser = listen_address)]
    nats_listen: Option<SocketAddr>,
    /// Use no NATS
    #[arg(long, global = true, help_heading = NATS, hide = true, env = "TENURE_NO_NATS", value_parser = BoolishValueParser::new())]
    no_nats: bool,
    /// The lifetime of a NATS user's credential, 5s to 5m [default: 5m]
    #[arg(long, global = true, help_heading = NATS, hide = true, env = "TENURE_NATS_USER_TTL", value_name = "DURATION", value_parser = duration)]
    nats_user_ttl: Option<Duration>,
    /// How many servers keep each stream: 1, 3 or 5 [default: 1]
    #[arg(long, global = true, help_heading = NATS, hide = true, env = "TENURE_NATS_REPLICAS", value_name = "N")]
    nats_replicas: Option<usize>,
    /// From where the stream of the log's events begins, if there is none that can go on: head or a position [default: head]
    ///
    /// Say it once, when the relay begins or has stopped, and leave it out afterwards.
    #[arg(long, global = true, help_heading = NATS, hide = true, value_name = "FROM")]
    relay_from: Option<RelayFrom>,
    /// Relay no events to JetStream
    #[arg(long, global = true, help_heading = NATS, hide = true, env = "TENURE_NO_RELAY", value_parser = BoolishValueParser::new())]
    no_relay: bool,
    /// How long relayed events stay at JetStream [default: for ever]
    #[arg(long, global = true, help_heading = NATS, hide = true, env = "TENURE_RELAY_MAX_AGE", value_name = "DURATION", value_parser = duration)]
    relay_max_age: Option<Duration>,
    /// How many bytes of relayed events stay at JetStream [default: all]
    #[arg(long, global = true, help_heading = NATS, hide = true, env = "TENURE_RELAY_MAX_BYTES", value_name = "BYTES")]
    relay_max_bytes: Option<i64>,
    /// Types of foreign aggregates whose events are relayed with their payloads, separated by commas
    #[arg(long, global = true, help_heading = NATS, hide = true, env = "TENURE_RELAY_FOREIGN", value_name = "TYPES", value_delimiter = ',')]
    relay_foreign: Vec<String>,
}

/// How NATS is used.
#[derive(Clone, Debug)]
pub struct NatsConfig {
    /// Servers; `None` for a private one.
    pub url: Option<String>,
    /// The URL that clients are told; `None` for that of the servers.
    pub public_url: Option<String>,
    /// The address of a private server; `None` for the usual one.
    pub listen: Option<SocketAddr>,
    /// Whether NATS is not used at all.
    pub is_off: bool,
    /// How long the credential of a user is valid.
    pub user_ttl: Duration,
    /// How many servers keep each stream.
    pub replicas: usize,
    /// How the events of the log are relayed.
    pub relay: RelaySettings,
}

impl NatsConfig {
    /// The settings for these servers.
    #[must_use]
    pub fn settings(&self, url: &str) -> NatsSettings {
        NatsSettings {
            public_url: self.public_url.clone().unwrap_or_else(|| url.to_owned()),
            user_ttl: self.user_ttl,
            replicas: self.replicas,
            relay: self.relay.clone(),
            ..NatsSettings::new(url)
        }
    }
}

impl NatsFlags {
    /// Merges the flags, which include the environment, with the settings file; flags win.
    pub(super) fn resolve(self, file: &File) -> Result<NatsConfig, ConfigError> {
        let user_ttl = self.nats_user_ttl.or(file.nats_user_ttl).unwrap_or(NatsSettings::USER_TTL);
        if !(NatsSettings::MIN_USER_TTL..=NatsSettings::USER_TTL).contains(&user_ttl) {
            return Err(ConfigError::Nats { setting: "nats_user_ttl", rule: "must be between 5s and 5m" });
        }
        let replicas = self.nats_replicas.or(file.nats_replicas).unwrap_or(1);
        if ![1, 3, 5].contains(&replicas) {
            return Err(ConfigError::Nats { setting: "nats_replicas", rule: "must be 1, 3 or 5" });
        }
        let relay = RelaySettings {
            is_on: !(self.no_relay || file.no_relay == Some(true)),
            from: self.relay_from,
            public_foreign: if self.relay_foreign.is_empty() {
                file.relay_foreign.clone().unwrap_or_default()
            } else {
                self.relay_foreign
            },
            max_age: self.relay_max_age.or(file.relay_max_age),
            max_bytes: self.relay_max_bytes.or(file.relay_max_bytes),
        };
        if relay.max_age.is_some_and(|age| age < RelaySettings::MIN_AGE) {
            return Err(ConfigError::Nats { setting: "relay_max_age", rule: "must be at least 1m" });
        }
        if relay.max_bytes.is_some_and(|bytes| bytes < RelaySettings::MIN_BYTES) {
            let rule = "must be at least 1048576 (1 MiB)";
            return Err(ConfigError::Nats { setting: "relay_max_bytes", rule });
        }
        let url = self.nats_url.or_else(|| file.nats_url.clone()).filter(|url| !url.is_empty());
        if let Some(url) = &url
            && url.split(',').any(|url| url.trim().parse::<async_nats::ServerAddr>().is_err())
        {
            let rule = "must be URLs separated by commas, for example nats://nats-1:4222,nats://nats-2:4222";
            return Err(ConfigError::Nats { setting: "nats_url", rule });
        }
        Ok(NatsConfig {
            url,
            public_url: self
                .nats_public_url
                .or_else(|| file.nats_public_url.clone())
                .filter(|url| !url.is_empty()),
            listen: self.nats_listen.or(file.nats_listen),
            is_off: self.no_nats || file.no_nats == Some(true),
            user_ttl,
            replicas,
            relay,
        })
    }
}
