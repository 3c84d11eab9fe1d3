//! `tenure user`: registers, shows and forgets users, and issues their sign-in links.

use clap::Subcommand;
use reqwest::Method;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use super::remote::{self, Remote, path};
use super::{lookup, open, output};
use crate::Tenure;
use crate::config::Config;
use crate::context::{Actor, Context};
use crate::http::sign_in_link_url;
use crate::operations::SIGN_IN_LINK_TTL;
use crate::projections::users::User;

#[derive(Subcommand)]
pub(super) enum UserCommand {
    /// Register a user
    Add {
        /// The username, unique without case: 1 to 39 characters of A-Z a-z 0-9 . _ -
        name: String,
        /// The user's e-mail address; nothing is sent to it
        #[arg(long)]
        email: String,
        /// How the user signs in: `internal` (with sign-in links from an operator) or `github`
        #[arg(long, default_value = "internal")]
        mode: String,
        /// Make the user an operator, who runs the instance
        #[arg(long, conflicts_with = "mode")]
        operator: bool,
    },
    /// Show a user
    Show {
        /// The user's username or id
        user: String,
    },
    /// Grant a user the operator role, or revoke it
    Operator {
        /// The user's username or id
        user: String,
        /// Revoke the operator role instead of granting it
        #[arg(long)]
        revoke: bool,
    },
    /// Create a link with which an internal user signs in once, within ten minutes
    SignInLink {
        /// The user's username or id
        user: String,
    },
    /// Forget a user for good: end their sessions, tokens, memberships, invites and API keys, and make their data in
    /// the log unreadable
    Forget {
        /// The user's username or id
        user: String,
    },
}

const COLUMNS: [&str; 7] = ["username", "id", "email", "mode", "github_login", "operator", "created_at"];

pub(super) async fn run(config: Config, command: UserCommand) -> anyhow::Result<()> {
    if let Some(remote) = Remote::of(&config)? {
        return over_http(&remote, &config, command).await;
    }
    let opened = open::open(&config).await?;
    let result = carry_out(&opened.tenure, &config, command).await;
    opened.close().await?;
    result
}

async fn over_http(remote: &Remote, config: &Config, command: UserCommand) -> anyhow::Result<()> {
    match command {
        UserCommand::Add { name, email, mode, operator } => {
            let body = json!({"username": name, "email": email, "mode": mode});
            let written = remote.post("/api/v1/users", &body).await?;
            // Not atomic: if the second request fails, the user exists without the operator role.
            if operator {
                let id = written.body["id"].as_str().unwrap_or_default();
                remote.act(Method::PUT, &path("/api/v1/users/{}/operator", &[id])).await?;
            }
            remote::done(config.json, &written, json!({}))
        }
        UserCommand::Show { user } => {
            let user = remote.get(&path("/api/v1/users/{}", &[&user])).await?;
            if config.json {
                return output::json(&user);
            }
            output::list(false, "users", &COLUMNS, &[user])
        }
        UserCommand::Operator { user, revoke } => {
            let method = if revoke { Method::DELETE } else { Method::PUT };
            let written = remote.act(method, &path("/api/v1/users/{}/operator", &[&user])).await?;
            remote::done(config.json, &written, json!({"operator": !revoke}))
        }
        UserCommand::SignInLink { user } => {
            let path = path("/api/v1/users/{}/sign-in-links", &[&user]);
            let written = remote.act(Method::POST, &path).await?;
            if config.json {
                return remote::done(true, &written, json!({}));
            }
            output::line(&format!("sign-in link for {user}, valid once, for ten minutes:"))?;
            output::line(written.body["url"].as_str().unwrap_or_default())
        }
        UserCommand::Forget { user } => {
            let written = remote.act(Method::DELETE, &path("/api/v1/users/{}", &[&user])).await?;
            remote::done(config.json, &written, json!({}))
        }
    }
}

async fn carry_out(tenure: &Tenure, config: &Config, command: UserCommand) -> anyhow::Result<()> {
    let context = Context::of(Actor::Operator);
    match command {
        UserCommand::Add { name, email, mode, operator } => {
            // An operator who is registered in one step is always an internal user, hence no `mode`.
            let done = if operator {
                tenure.insert_operator(&context, &name, &email).await?
            } else {
                tenure.insert_user(&context, &name, &email, &mode).await?
            };
            if config.json {
                let answer = json!({
                    "id": done.answer, "username": name, "email": email, "mode": mode, "operator": operator,
                    "position": done.checkpoint.to_string(),
                });
                return output::json(&answer);
            }
            output::line(&format!("user {name} ({}): {}", done.answer, output::outcome(&done)))
        }
        UserCommand::Show { user } => {
            let user = record(&lookup::user(tenure, &user).await?);
            if config.json {
                return output::json(&user);
            }
            output::list(false, "users", &COLUMNS, &[user])
        }
        UserCommand::Operator { user, revoke } => {
            let user = lookup::user(tenure, &user).await?;
            let done = tenure.set_operator(&context, user.id, !revoke).await?;
            output::done(config.json, &done, json!({"user_id": user.id, "operator": !revoke}))
        }
        UserCommand::SignInLink { user } => {
            let user = lookup::user(tenure, &user).await?;
            let done = tenure.issue_sign_in_link(&context, user.id).await?;
            // The link must lead to the server: without a flag, use the address that the server recorded.
            let public_url_of_instance =
                if config.http.public_url_is_set { None } else { tenure.public_url_of_instance().await? };
            let public_url_of_instance = public_url_of_instance.as_ref().unwrap_or(&config.http.public_url);
            let url = sign_in_link_url(public_url_of_instance, done.answer.expose_secret());
            if config.json {
                let seconds = SIGN_IN_LINK_TTL.as_secs();
                let answer =
                    json!({"url": url, "expires_in": seconds, "position": done.checkpoint.to_string()});
                return output::json(&answer);
            }
            output::line(&format!("sign-in link for {}, valid once, for ten minutes:", user.username))?;
            output::line(&url)
        }
        UserCommand::Forget { user } => {
            let user = lookup::user(tenure, &user).await?;
            let done = tenure.forget_user(&context, user.id).await?;
            // Cleared here, because no server may be running to do it.
            tenure.clear_away().await?;
            tenure.log().sweep_as_of_schemas().await?;
            let answer = json!({"user_id": user.id, "revoked_api_key_count": done.answer.count,
                "revoked_api_keys": done.answer.first});
            output::done(config.json, &done, answer)
        }
    }
}

fn record(user: &User) -> Value {
    json!({
        "id": user.id, "username": user.username, "email": user.email, "mode": user.mode.as_str(),
        "github_id": user.github_id, "github_login": user.github_login, "avatar_url": user.avatar_url,
        "operator": user.operator, "created_at": user.created_at, "forgotten_at": user.forgotten_at,
    })
}
