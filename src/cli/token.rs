//! `tenure token`: issues, lists and revokes the bearer tokens of users.

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
use crate::context::{Actor, Context};
use crate::operations::Resource;

#[derive(Subcommand)]
pub(super) enum TokenCommand {
    /// Issue a bearer token to a user and print it; it is shown only once
    Issue {
        /// The user's username; required on a database [default on a server: the logged-in user]
        #[arg(long, value_name = "NAME")]
        user: Option<String>,
        /// How long the token is valid, in s, m, h or d, at most ten years
        #[arg(long, value_parser = duration, default_value = "30d")]
        ttl: Duration,
    },
    /// List the bearer tokens of a user
    List {
        /// The user's username; required on a database [default on a server: the logged-in user]
        #[arg(long, value_name = "NAME")]
        user: Option<String>,
    },
    /// Revoke a bearer token
    Revoke {
        /// The token's id
        id: String,
        /// The username of the token's user; ignored on a database [default on a server: the logged-in user]
        #[arg(long, value_name = "NAME")]
        user: Option<String>,
    },
}

const COLUMNS: [&str; 6] = ["id", "prefix", "created_at", "expires_at", "revoked_at", "last_used_at"];

pub(super) async fn run(config: Config, command: TokenCommand) -> anyhow::Result<()> {
    if let Some(remote) = Remote::of(&config)? {
        return over_http(&remote, &config, command).await;
    }
    let opened = open::open(&config).await?;
    let result = carry_out(&opened.tenure, &config, command).await;
    opened.close().await?;
    result
}

async fn over_http(remote: &Remote, config: &Config, command: TokenCommand) -> anyhow::Result<()> {
    // The API reads `me` as the logged-in user.
    let whose = |user: Option<String>| user.unwrap_or_else(|| "me".to_owned());
    match command {
        TokenCommand::Issue { user, ttl } => {
            let path = path("/api/v1/users/{}/tokens", &[&whose(user)]);
            let written = remote.post(&path, &json!({"expires_in": ttl.as_secs()})).await?;
            remote::secret(config.json, &written, "token", ("access_token", "token"))
        }
        TokenCommand::List { user } => {
            let tokens = remote.list(&path("/api/v1/users/{}/tokens", &[&whose(user)])).await?;
            output::list(config.json, "tokens", &COLUMNS, &tokens)
        }
        TokenCommand::Revoke { id, user } => {
            let path = path("/api/v1/users/{}/tokens/{}", &[&whose(user), &id]);
            remote::done(config.json, &remote.act(Method::DELETE, &path).await?, json!({"id": id}))
        }
    }
}

async fn carry_out(tenure: &Tenure, config: &Config, command: TokenCommand) -> anyhow::Result<()> {
    match command {
        TokenCommand::Issue { user, ttl } => {
            let user = lookup::named(tenure, user.as_deref(), "--user").await?;
            let done = tenure.issue_bearer_token(&lookup::on_behalf_of(user.id), user.id, ttl).await?;
            let (id, secret) = &done.answer;
            let secret = secret.as_ref().map(SecretString::expose_secret).unwrap_or_default();
            if config.json {
                let seconds = ttl.as_secs();
                let answer = json!({
                    "id": id, "token": secret, "expires_in": seconds, "position": done.checkpoint.to_string(),
                });
                return output::json(&answer);
            }
            output::line(&format!("token {id}: {}", output::outcome(&done)))?;
            output::line("token (shown only once):")?;
            output::line(secret)
        }
        TokenCommand::List { user } => {
            let user = lookup::named(tenure, user.as_deref(), "--user").await?;
            let tokens = tenure.reader().bearer_tokens_for_user(user.id).try_collect::<Vec<_>>().await?;
            let rows = tokens.iter().map(|token| {
                json!({
                    "id": token.id, "prefix": token.prefix, "created_at": token.created_at,
                    "expires_at": token.expires_at, "revoked_at": token.revoked_at,
                    "last_used_at": token.last_used_at,
                })
            });
            output::list(config.json, "tokens", &COLUMNS, &rows.collect::<Vec<_>>())
        }
        // On a database the id alone identifies the token.
        TokenCommand::Revoke { id, user: _ } => {
            let token = lookup::id(&id, Resource::BearerToken)?;
            let done = tenure.revoke_bearer_token(&Context::of(Actor::Operator), token).await?;
            output::done(config.json, &done, json!({"id": token}))
        }
    }
}
