//! `tenure key`: API keys of accounts.

use std::time::Duration;

use clap::Subcommand;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;

use super::{lookup, open, output};
use crate::Tenure;
use crate::config::Config;
use crate::dispatch::Dispatched;
use crate::operations::{ApiKeySecret, Thing};

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
        /// Who mints it: the owner or a member
        #[arg(long, value_name = "NAME")]
        by: String,
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
        /// On whose behalf
        #[arg(long, value_name = "NAME")]
        by: String,
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
        /// On whose behalf
        #[arg(long, value_name = "NAME")]
        by: String,
    },
    /// Say whose the secret on standard input is; exit code 4 if it is nobody's
    Verify,
}

pub(super) async fn run(config: Config, command: KeyCommand) -> anyhow::Result<()> {
    let opened = open::open(&config).await?;
    let result = carry_out(&opened.tenure, &config, command).await;
    opened.close().await?;
    result
}

async fn carry_out(tenure: &Tenure, config: &Config, command: KeyCommand) -> anyhow::Result<()> {
    match command {
        KeyCommand::Mint { account, label, by, ttl } => {
            let (account, by) = (lookup::account(tenure, &account).await?, lookup::user(tenure, &by).await?);
            let end = ttl.map(|ttl| tenure.clock().now().after(ttl));
            let context = lookup::on_behalf_of(by.id);
            let done = tenure.mint_api_key(&context, account.id, &label, end, Some(by.id)).await?;
            secret(config.json, &done)
        }
        KeyCommand::List { account } => {
            let account = lookup::account(tenure, &account).await?;
            let keys = tenure.reader().api_keys_for_account(account.id, tenure.clock().now()).await?;
            let rows = keys.iter().map(|key| {
                json!({
                    "id": key.id, "account_id": key.account_id, "created_by_user_id": key.created_by_user_id,
                    "key_prefix": key.key_prefix, "label": key.label, "created_at": key.created_at,
                    "expires_at": key.expires_at, "revoked_at": key.revoked_at,
                    "last_used_at": key.last_used_at,
                })
            });
            let columns =
                ["id", "key_prefix", "label", "created_at", "expires_at", "revoked_at", "last_used_at"];
            output::list(config.json, "keys", &columns, &rows.collect::<Vec<_>>())
        }
        KeyCommand::Rotate { id, account, by, grace } => {
            let (account, by) = (lookup::account(tenure, &account).await?, lookup::user(tenure, &by).await?);
            let key = lookup::id(&id, Thing::ApiKey)?;
            let context = lookup::on_behalf_of(by.id);
            secret(config.json, &tenure.rotate_api_key(&context, Some(account.id), key, grace).await?)
        }
        KeyCommand::Revoke { id, account, by } => {
            let (account, by) = (lookup::account(tenure, &account).await?, lookup::user(tenure, &by).await?);
            let key = lookup::id(&id, Thing::ApiKey)?;
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
        let answer = json!({"id": done.answer.id, "plaintext": plaintext, "position": done.position});
        return output::json(&answer);
    }
    output::line(&format!("key {}: {}", done.answer.id, output::outcome(done)))?;
    output::line("its secret, which is not shown again:")?;
    output::line(plaintext)
}
