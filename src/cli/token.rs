//! `tenure token`: bearer tokens of people.

use std::time::Duration;

use clap::Subcommand;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;

use super::{lookup, open, output};
use crate::Tenure;
use crate::config::Config;
use crate::context::{Actor, Context};
use crate::operations::Thing;

#[derive(Subcommand)]
pub(super) enum TokenCommand {
    /// Issue a token to a person and print it, this once
    Issue {
        /// The person's username
        #[arg(long, value_name = "NAME")]
        user: String,
        /// How long it is good
        #[arg(long, value_parser = lookup::duration, default_value = "30d")]
        ttl: Duration,
    },
    /// All tokens of a person
    List {
        /// The person's username
        #[arg(long, value_name = "NAME")]
        user: String,
    },
    /// Make a token good for nothing
    Revoke {
        /// The token's id
        id: String,
    },
}

pub(super) async fn run(config: Config, command: TokenCommand) -> anyhow::Result<()> {
    let opened = open::open(&config).await?;
    let result = carry_out(&opened.tenure, &config, command).await;
    opened.close().await?;
    result
}

async fn carry_out(tenure: &Tenure, config: &Config, command: TokenCommand) -> anyhow::Result<()> {
    match command {
        TokenCommand::Issue { user, ttl } => {
            let user = lookup::user(tenure, &user).await?;
            let done = tenure.issue_bearer_token(&lookup::on_behalf_of(user.id), user.id, ttl).await?;
            let (id, secret) = &done.answer;
            let secret = secret.as_ref().map(SecretString::expose_secret).unwrap_or_default();
            if config.json {
                let seconds = ttl.as_secs();
                let answer = json!({
                    "id": id, "token": secret, "expires_in": seconds, "position": done.position,
                });
                return output::json(&answer);
            }
            output::line(&format!("token {id}: {}", output::outcome(&done)))?;
            output::line("the token, which is not shown again:")?;
            output::line(secret)
        }
        TokenCommand::List { user } => {
            let user = lookup::user(tenure, &user).await?;
            let tokens = tenure.reader().bearer_tokens_for_user(user.id).await?;
            let rows = tokens.iter().map(|token| {
                json!({
                    "id": token.id, "prefix": token.prefix, "created_at": token.created_at,
                    "expires_at": token.expires_at, "revoked_at": token.revoked_at,
                    "last_used_at": token.last_used_at,
                })
            });
            let columns = ["id", "prefix", "created_at", "expires_at", "revoked_at", "last_used_at"];
            output::list(config.json, "tokens", &columns, &rows.collect::<Vec<_>>())
        }
        TokenCommand::Revoke { id } => {
            let token = lookup::id(&id, Thing::BearerToken)?;
            let done = tenure.revoke_bearer_token(&Context::of(Actor::Operator), token).await?;
            output::done(config.json, &done, json!({"id": token}))
        }
    }
}
