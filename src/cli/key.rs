//! `tenure key`: mints, lists, rotates, revokes and verifies the API keys of accounts.

use futures::TryStreamExt as _;
use std::time::Duration;

use clap::Subcommand;
use reqwest::Method;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;

use super::remote::{self, Remote, path};
use super::{lookup, open, output};
use crate::Tenure;
use crate::config::Config;
use crate::config::duration::duration;
use crate::dispatch::Dispatched;
use crate::operations::{ApiKeySecret, Resource};
use crate::projections::QueryError;

#[derive(Subcommand)]
pub(super) enum KeyCommand {
    /// Mint an API key and print its secret, which is shown only once
    Mint {
        /// The account's name or id
        #[arg(long)]
        account: String,
        /// A label for the key, at most 200 characters
        #[arg(long, default_value = "")]
        label: String,
        /// The username of the minter, the owner or a member; required on a database, ignored on a server
        #[arg(long, value_name = "NAME")]
        by: Option<String>,
        /// How long the key is valid, in s, m, h or d, for example 90d [default: until it is revoked]
        #[arg(long, value_parser = duration)]
        ttl: Option<Duration>,
    },
    /// List the API keys of an account, valid ones first
    List {
        /// The account's name or id
        #[arg(long)]
        account: String,
    },
    /// Replace the secret of an API key and print the new one, which is shown only once
    Rotate {
        /// The key's id
        id: String,
        /// The account's name or id
        #[arg(long)]
        account: String,
        /// The username of the user to act for; required on a database, ignored on a server
        #[arg(long, value_name = "NAME")]
        by: Option<String>,
        /// How long the previous secret stays valid, in s, m, h or d, at most 30d
        #[arg(long, value_parser = duration, default_value = "24h")]
        grace: Duration,
    },
    /// Revoke an API key and all its secrets
    Revoke {
        /// The key's id
        id: String,
        /// The account's name or id
        #[arg(long)]
        account: String,
        /// The username of the user to act for; required on a database, ignored on a server
        #[arg(long, value_name = "NAME")]
        by: Option<String>,
    },
    /// Verify the secret on standard input and print its key and account; exit code 4 if no valid key has it
    Verify,
}

const COLUMNS: [&str; 7] =
    ["id", "key_prefix", "label", "created_at", "expires_at", "revoked_at", "last_used_at"];

pub(super) async fn run(config: Config, command: KeyCommand) -> anyhow::Result<()> {
    if let Some(remote) = Remote::of(&config)? {
        return over_http(&remote, &config, command).await;
    }
    let opened = open::open(&config).await?;
    let result = carry_out(&opened.tenure, &config, command).await;
    opened.close().await?;
    result
}

async fn over_http(remote: &Remote, config: &Config, command: KeyCommand) -> anyhow::Result<()> {
    let shown = ("plaintext", "plaintext");
    match command {
        KeyCommand::Mint { account, label, by: _, ttl } => {
            let body = json!({"label": label, "expires_in": ttl.map(|ttl| ttl.as_secs())});
            let written = remote.post(&path("/api/v1/accounts/{}/keys", &[&account]), &body).await?;
            remote::secret(config.json, &written, "key", shown)
        }
        KeyCommand::List { account } => {
            let keys = remote.list(&path("/api/v1/accounts/{}/keys", &[&account])).await?;
            output::list(config.json, "keys", &COLUMNS, &keys)
        }
        KeyCommand::Rotate { id, account, by: _, grace } => {
            let path = path("/api/v1/accounts/{}/keys/{}/rotate", &[&account, &id]);
            let written = remote.post(&path, &json!({"grace_seconds": grace.as_secs()})).await?;
            remote::secret(config.json, &written, "key", shown)
        }
        KeyCommand::Revoke { id, account, by: _ } => {
            let path = path("/api/v1/accounts/{}/keys/{}", &[&account, &id]);
            remote::done(config.json, &remote.act(Method::DELETE, &path).await?, json!({"id": id}))
        }
        KeyCommand::Verify => {
            let plaintext = output::secret_from_stdin()?;
            let body = json!({"key": plaintext.expose_secret()});
            let verified = remote.post("/api/v1/keys/verify", &body).await?.body;
            let key = &verified["key"];
            // The server answers 200 for an invalid key; the exit code must still be that of a missing one.
            if verified["valid"] != true {
                return Err(lookup::missing(QueryError::NotFound, Resource::ApiKey));
            }
            if config.json {
                return output::json(key);
            }
            let text = |name: &str| key[name].as_str().unwrap_or_default().to_owned();
            output::line(&format!("key {} of account {}", text("id"), text("account_id")))
        }
    }
}

async fn carry_out(tenure: &Tenure, config: &Config, command: KeyCommand) -> anyhow::Result<()> {
    match command {
        KeyCommand::Mint { account, label, by, ttl } => {
            let account = lookup::account(tenure, &account).await?;
            let by = lookup::named(tenure, by.as_deref(), "--by").await?;
            let end = ttl.map(|ttl| tenure.clock().now().after(ttl));
            let context = lookup::on_behalf_of(by.id);
            let done = tenure.mint_api_key(&context, account.id, &label, end, Some(by.id)).await?;
            secret(config.json, &done)
        }
        KeyCommand::List { account } => {
            let account = lookup::account(tenure, &account).await?;
            let keys = tenure
                .reader()
                .api_keys_for_account(account.id, tenure.clock().now())
                .try_collect::<Vec<_>>()
                .await?;
            let rows = keys.iter().map(|key| {
                json!({
                    "id": key.id, "account_id": key.account_id, "created_by_user_id": key.created_by_user_id,
                    "key_prefix": key.key_prefix, "label": key.label, "created_at": key.created_at,
                    "expires_at": key.expires_at, "revoked_at": key.revoked_at,
                    "last_used_at": key.last_used_at,
                })
            });
            output::list(config.json, "keys", &COLUMNS, &rows.collect::<Vec<_>>())
        }
        KeyCommand::Rotate { id, account, by, grace } => {
            let account = lookup::account(tenure, &account).await?;
            let by = lookup::named(tenure, by.as_deref(), "--by").await?;
            let key = lookup::id(&id, Resource::ApiKey)?;
            let context = lookup::on_behalf_of(by.id);
            secret(config.json, &tenure.rotate_api_key(&context, Some(account.id), key, grace).await?)
        }
        KeyCommand::Revoke { id, account, by } => {
            let account = lookup::account(tenure, &account).await?;
            let by = lookup::named(tenure, by.as_deref(), "--by").await?;
            let key = lookup::id(&id, Resource::ApiKey)?;
            let context = lookup::on_behalf_of(by.id);
            let done = tenure.revoke_api_key(&context, Some(account.id), key).await?;
            output::done(config.json, &done, json!({"id": key}))
        }
        KeyCommand::Verify => {
            let plaintext = output::secret_from_stdin()?;
            let key = tenure.lookup_api_key(&plaintext).await?;
            let answer = json!({"id": key.id, "account_id": key.account_id, "label": key.label});
            if config.json {
                return output::json(&answer);
            }
            output::line(&format!("key {} of account {}", key.id, key.account_id))
        }
    }
}

fn secret(json: bool, done: &Dispatched<ApiKeySecret>) -> anyhow::Result<()> {
    let plaintext = done.answer.plaintext.as_ref().map(SecretString::expose_secret).unwrap_or_default();
    if json {
        let answer =
            json!({"id": done.answer.id, "plaintext": plaintext, "position": done.checkpoint.to_string()});
        return output::json(&answer);
    }
    output::line(&format!("key {}: {}", done.answer.id, output::outcome(done)))?;
    output::line("secret (shown only once):")?;
    output::line(plaintext)
}
