//! Reads the TOML settings file.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use super::duration::duration;
use super::error::ConfigError;
use super::listen;
use crate::http::{Rate, Rates};
use crate::operations::Limits;

/// The contents of the settings file; a missing setting is `None`, an unknown one is an error.
#[allow(clippy::struct_field_names)] // the settings are named like the flags
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    pub(super) data_dir: Option<PathBuf>,
    pub(super) database_url: Option<String>,
    pub(super) postgres_bin: Option<PathBuf>,
    pub(super) master_key_file: Option<PathBuf>,
    pub(super) next_master_key_file: Option<PathBuf>,
    pub(super) forgotten_list: Option<PathBuf>,
    pub(super) key_sentinel: Option<String>,
    pub(super) invite_ttl_seconds: Option<u64>,
    pub(super) pipe_ttl_seconds: Option<u64>,
    pub(super) pipe_max_msgs: Option<i64>,
    pub(super) pipe_max_bytes: Option<i64>,
    #[serde(default, deserialize_with = "listen_address")]
    pub(super) listen: Option<SocketAddr>,
    #[serde(default, deserialize_with = "listen_address")]
    pub(super) metrics_listen: Option<SocketAddr>,
    pub(super) connections: Option<usize>,
    #[serde(default, deserialize_with = "time_span")]
    pub(super) swap_wait: Option<Duration>,
    #[serde(default, deserialize_with = "time_span")]
    pub(super) drain_timeout: Option<Duration>,
    #[serde(default, deserialize_with = "time_span")]
    pub(super) audit_every: Option<Duration>,
    pub(super) nats_url: Option<String>,
    pub(super) nats_public_url: Option<String>,
    #[serde(default, deserialize_with = "listen_address")]
    pub(super) nats_listen: Option<SocketAddr>,
    pub(super) no_nats: Option<bool>,
    #[serde(default, deserialize_with = "time_span")]
    pub(super) nats_user_ttl: Option<Duration>,
    pub(super) nats_replicas: Option<usize>,
    pub(super) no_relay: Option<bool>,
    pub(super) relay_foreign: Option<Vec<String>>,
    #[serde(default, deserialize_with = "time_span")]
    pub(super) relay_max_age: Option<Duration>,
    pub(super) relay_max_bytes: Option<i64>,
    pub(super) public_url: Option<String>,
    pub(super) dev_sign_in: Option<bool>,
    pub(super) trusted_proxies: Option<Vec<String>>,
    pub(super) github_client_id: Option<String>,
    pub(super) github_client_secret_file: Option<PathBuf>,
    pub(super) github_url: Option<String>,
    pub(super) github_api_url: Option<String>,
    pub(super) device_code_ttl: Option<u64>,
    pub(super) device_interval: Option<u64>,
    pub(super) token_ttl: Option<u64>,
    pub(super) session_ttl: Option<u64>,
    #[serde(default)]
    pub(super) limits: LimitsFile,
}

fn listen_address<'de, D: Deserializer<'de>>(value: D) -> Result<Option<SocketAddr>, D::Error> {
    let text = String::deserialize(value)?;
    listen::listen_address(&text).map(Some).map_err(D::Error::custom)
}

fn time_span<'de, D: Deserializer<'de>>(value: D) -> Result<Option<Duration>, D::Error> {
    let text = String::deserialize(value)?;
    duration(&text).map(Some).map_err(D::Error::custom)
}

/// The table `limits` of the settings file; a missing limit keeps its default.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LimitsFile {
    sources_per_account: Option<u32>,
    pipes_per_account: Option<u32>,
    keys_per_account: Option<u32>,
    pending_invites_per_account: Option<u32>,
    accounts_per_owner: Option<u32>,
    tokens_per_user: Option<u32>,
    sessions_per_user: Option<u32>,
    device_codes_per_address: Option<u32>,
    device_codes: Option<u32>,
    user_code_failures: Option<u32>,
    user_code_failures_in_all: Option<u32>,
    key_failures: Option<u32>,
    anonymous: Option<RateFile>,
    credential: Option<RateFile>,
    commands: Option<RateFile>,
    tenant: Option<RateFile>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
struct RateFile {
    burst: u32,
    per_second: u32,
}

impl LimitsFile {
    /// Overwrites the limits that the file sets.
    pub(super) fn apply(&self, limits: &mut Limits) {
        for (limit, set) in [
            (&mut limits.sources_per_account, self.sources_per_account),
            (&mut limits.pipes_per_account, self.pipes_per_account),
            (&mut limits.keys_per_account, self.keys_per_account),
            (&mut limits.pending_invites_per_account, self.pending_invites_per_account),
            (&mut limits.accounts_per_owner, self.accounts_per_owner),
            (&mut limits.tokens_per_user, self.tokens_per_user),
            (&mut limits.sessions_per_user, self.sessions_per_user),
            (&mut limits.device_codes_per_address, self.device_codes_per_address),
            (&mut limits.device_codes, self.device_codes),
            (&mut limits.user_code_failures, self.user_code_failures),
            (&mut limits.user_code_failures_in_all, self.user_code_failures_in_all),
        ] {
            *limit = set.unwrap_or(*limit);
        }
    }

    /// The rate limits of the file, with the defaults filled in.
    pub(super) fn rates(&self) -> Rates {
        let rates = Rates::default();
        let rate = |set: Option<RateFile>, usual: Rate| {
            set.map_or(usual, |set| Rate { burst: set.burst, per_second: set.per_second })
        };
        Rates {
            anonymous: rate(self.anonymous, rates.anonymous),
            credential: rate(self.credential, rates.credential),
            commands: rate(self.commands, rates.commands),
            tenant: rate(self.tenant, rates.tenant),
            key_failures: self.key_failures.unwrap_or(rates.key_failures),
        }
    }
}

pub(super) fn read(path: &Path) -> Result<File, ConfigError> {
    let failed = |reason: String| ConfigError::File { path: path.to_owned(), reason };
    let text = std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
    toml::from_str(&text).map_err(|error| failed(without_values(&text, &error)))
}

/// The line and the reason of a parse error. It quotes neither the line nor a value: either may hold a password.
fn without_values(text: &str, error: &toml::de::Error) -> String {
    let message = error.message();
    // serde shows a string of the wrong type or form between double quotes.
    let message = match (message.find('"'), message.rfind('"')) {
        (Some(first), Some(last)) if first < last => {
            format!("{}…{}", &message[..=first], &message[last..])
        }
        _ => message.to_owned(),
    };
    match error.span().and_then(|span| text.get(..span.start)) {
        Some(before) => format!("line {}: {message}", before.lines().count().max(1)),
        None => message,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        without_values(text, &toml::from_str::<File>(text).err().expect("refused"))
    }

    #[test]
    fn a_parse_error_names_the_line_and_shows_no_value() {
        for text in [
            "listen = \"127.0.0.1:1\"\nconnections = \"se\\\"cret\"",
            "\ndata_dir = [\"secret\"]",
            "\nlisten = \"secret\"",
            "\n[limits]\nanonymous = { burst = \"secret\", per_second = 1 }",
            "\ndatabase_url = postgres://a:secret@b",
            "\ndatabase_url = \"secret",
            "\ndatabase_url = 'secret\n",
            "\ndatabase_url \"secret\"",
        ] {
            let reason = refused(text);
            assert!(!reason.contains("cret"), "{reason}");
            assert!(reason.starts_with("line 2: ") || reason.starts_with("line 3: "), "{reason}");
        }
        assert!(refused("a_secret_key_without_a_value").starts_with("line 1: "));
        assert!(refused("listne = 1").contains("unknown field `listne`"));
    }
}
