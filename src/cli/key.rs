//! `tenure key`: API keys of accounts.

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
use crate::dispatch::Dispatched;
use crate::operations::{ApiKeySecret, Resource};
use crate::projections::QueryError;

#[derive(Subcommand)]
pub(super) enum KeyCommand {
    /// Make a key and print its secret, this once
    Mint {
        /// The account's name or id
        #[arg(long)]
        account: String,
        /// What to call it
        #[arg(long, default_value = "")]
        label: String,
        /// Who mints it: the owner or a member; on the database
        #[arg(long, value_name = "NAME")]
        by: Option<String>,
        /// How long it is good, for example 90d; without: until it is revoked
        #[arg(long, value_parser = lookup::duration)]
        ttl: Option<Duration>,
    },
    /// All keys of an account, the good ones first
    List {
        /// The account's name or id
        #[arg(long)]
        account: String,
    },
    /// Give a key another secret and print it, this once
    Rotate {
        /// The key's id
        id: String,
        /// The account's name or id
        #[arg(long)]
        account: String,
        /// On whose behalf, on the database
        #[arg(long, value_name = "NAME")]
        by: Option<String>,
        /// How long the former secret stays good
        #[arg(long, value_parser = lookup::duration, default_value = "24h")]
        grace: Duration,
    },
    /// Make a key good for nothing
    Revoke {
        /// The key's id
        id: String,
        /// The account's name or id
        #[arg(long)]
        account: String,
        /// On whose behalf, on the database
        #[arg(long, value_name = "NAME")]
        by: Option<String>,
    },
    /// Say whose the secret on standard input is; exit code 4 if it is nobody's
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
    output::line("its secret, which is not shown again:")?;
    output::line(plaintext)
}
