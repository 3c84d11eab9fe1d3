//! `tenure invite`: offers of membership.

use clap::Subcommand;
use futures::TryStreamExt as _;
use reqwest::Method;
use serde_json::{Value, json};

use super::remote::{self, Remote, path};
use super::{lookup, open, output};
use crate::Tenure;
use crate::aggregates::field::Invalid;
use crate::clock::Timestamp;
use crate::config::Config;
use crate::context::{Actor, Context};
use crate::operations::Resource;
use crate::projections::invites::Invite;

#[derive(Subcommand)]
pub(super) enum InviteCommand {
    /// Offer a person membership
    Send {
        /// The account's name or id
        #[arg(long)]
        account: String,
        /// The username, of somebody who need not have signed up yet
        #[arg(long, value_name = "NAME")]
        to: String,
        /// On whose behalf, on the database: the owner
        #[arg(long, value_name = "NAME")]
        by: Option<String>,
        /// How somebody who has not signed up yet must sign in: `github` or `internal`
        #[arg(long, default_value = "github")]
        mode: String,
    },
    /// All invites of an account, newest first; or the standing ones of a person, oldest first
    List {
        /// The account's name or id
        #[arg(long)]
        account: Option<String>,
        /// The person's username, on the database; through a server: whoever is logged in
        #[arg(long, value_name = "NAME", conflicts_with = "account")]
        user: Option<String>,
    },
    /// Take an invite, for the person it is addressed to
    Accept {
        /// The invite's id
        id: String,
        /// The person's username, on the database
        #[arg(long, value_name = "NAME")]
        user: Option<String>,
    },
    /// Turn an invite down, for the person it is addressed to
    Decline {
        /// The invite's id
        id: String,
        /// The person's username, on the database
        #[arg(long, value_name = "NAME")]
        user: Option<String>,
    },
    /// Take an invite back
    Revoke {
        /// The invite's id
        id: String,
        /// The account that it must be of
        #[arg(long)]
        account: Option<String>,
    },
}

const COLUMNS: [&str; 6] = ["id", "account_name", "invitee_username", "status", "created_at", "expires_at"];

pub(super) async fn run(config: Config, command: InviteCommand) -> anyhow::Result<()> {
    if let Some(remote) = Remote::of(&config)? {
        return over_http(&remote, &config, command).await;
    }
    let opened = open::open(&config).await?;
    let result = carry_out(&opened.tenure, &config, command).await;
    opened.close().await?;
    result
}

async fn over_http(remote: &Remote, config: &Config, command: InviteCommand) -> anyhow::Result<()> {
    match command {
        InviteCommand::Send { account, to, by: _, mode } => {
            let path = path("/api/v1/accounts/{}/invites", &[&account]);
            let written = remote.post(&path, &json!({"username": to, "mode": mode})).await?;
            remote::done(config.json, &written, json!({}))
        }
        InviteCommand::List { account: Some(account), .. } => {
            let invites = remote.list(&path("/api/v1/accounts/{}/invites", &[&account])).await?;
            output::list(config.json, "invites", &COLUMNS, &invites)
        }
        InviteCommand::List { .. } => {
            let mut all = remote.get("/api/v1/invites").await?;
            let invites = all["invites"].as_array_mut().map(std::mem::take).unwrap_or_default();
            output::list(config.json, "invites", &COLUMNS, &invites)
        }
        InviteCommand::Accept { id, .. } => {
            let path = path("/api/v1/invites/{}/accept", &[&id]);
            remote::done(config.json, &remote.act(Method::POST, &path).await?, json!({"id": id}))
        }
        InviteCommand::Decline { id, .. } => {
            let path = path("/api/v1/invites/{}/decline", &[&id]);
            remote::done(config.json, &remote.act(Method::POST, &path).await?, json!({"id": id}))
        }
        InviteCommand::Revoke { id, account } => {
            let rule = "through a server, say of which account the invite is";
            let account = account.ok_or(Invalid { field: "--account", rule })?;
            let path = path("/api/v1/accounts/{}/invites/{}", &[&account, &id]);
            remote::done(config.json, &remote.act(Method::DELETE, &path).await?, json!({"id": id}))
        }
    }
}

async fn carry_out(tenure: &Tenure, config: &Config, command: InviteCommand) -> anyhow::Result<()> {
    let now = tenure.clock().now();
    match command {
        InviteCommand::Send { account, to, by, mode } => {
            let account = lookup::account(tenure, &account).await?;
            let by = lookup::named(tenure, by.as_deref(), "--by").await?;
            let mode = mode.parse()?;
            let context = lookup::on_behalf_of(by.id);
            let done = tenure.create_invite_for_mode(&context, account.id, &to, Some(by.id), mode).await?;
            let answer = json!({"id": done.answer, "account_id": account.id, "invitee_username": to});
            output::done(config.json, &done, answer)
        }
        InviteCommand::List { account, user } => {
            let rows: Vec<Value> = match (account, user) {
                (Some(account), _) => {
                    let account = lookup::account(tenure, &account).await?;
                    let invites =
                        tenure.reader().invites_for_account(account.id).try_collect::<Vec<_>>().await?;
                    invites.iter().map(|invite| record(invite, &account.name, now)).collect()
                }
                (None, user) => {
                    let user =
                        user.ok_or(Invalid { field: "--account", rule: "or --user: whose invites" })?;
                    let invites = tenure
                        .reader()
                        .pending_invites_for_username(&user, now)
                        .try_collect::<Vec<_>>()
                        .await?;
                    invites.iter().map(|known| record(&known.invite, &known.account_name, now)).collect()
                }
            };
            output::list(config.json, "invites", &COLUMNS, &rows)
        }
        InviteCommand::Accept { id, user } => {
            let user = lookup::named(tenure, user.as_deref(), "--user").await?;
            let invite = lookup::id(&id, Resource::Invite)?;
            let done = tenure.accept_invite(&lookup::on_behalf_of(user.id), invite, user.id).await?;
            output::done(config.json, &done, json!({"id": invite, "account_id": done.answer}))
        }
        InviteCommand::Decline { id, user } => {
            let user = lookup::named(tenure, user.as_deref(), "--user").await?;
            let invite = lookup::id(&id, Resource::Invite)?;
            let done = tenure.decline_invite(&lookup::on_behalf_of(user.id), invite, user.id).await?;
            output::done(config.json, &done, json!({"id": invite, "account_id": done.answer}))
        }
        InviteCommand::Revoke { id, account } => {
            let account = match account {
                Some(account) => Some(lookup::account(tenure, &account).await?.id),
                None => None,
            };
            let invite = lookup::id(&id, Resource::Invite)?;
            let done = tenure.revoke_invite(&Context::of(Actor::Operator), account, invite).await?;
            output::done(config.json, &done, json!({"id": invite}))
        }
    }
}

fn record(invite: &Invite, account_name: &str, now: Timestamp) -> Value {
    json!({
        "id": invite.id, "account_id": invite.account_id, "account_name": account_name,
        "invitee_username": invite.invitee_username, "inviter_user_id": invite.inviter_user_id,
        "status": invite.status_at(now).as_str(), "created_at": invite.created_at,
        "decided_at": invite.decided_at, "expires_at": invite.expires_at,
    })
}
