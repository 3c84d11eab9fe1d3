//! `tenure invite`: sends, lists, answers and revokes invites to accounts.

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
    /// Invite a user to become a member of an account
    Send {
        /// The account's name or id
        #[arg(long)]
        account: String,
        /// The invitee's username; the invitee need not have signed up yet
        #[arg(long, value_name = "NAME")]
        to: String,
        /// The username of the inviter, usually the owner; required on a database, ignored on a server
        #[arg(long, value_name = "NAME")]
        by: Option<String>,
        /// How an invitee who has not signed up yet must sign in: `github` or `internal`
        #[arg(long, default_value = "github")]
        mode: String,
    },
    /// List the invites of an account, newest first, or the pending invites of a user, oldest first
    List {
        /// The account's name or id
        #[arg(long)]
        account: Option<String>,
        /// The invitee's username on a database; a server always lists the invites of the logged-in user
        #[arg(long, value_name = "NAME", conflicts_with = "account")]
        user: Option<String>,
    },
    /// Accept an invite as the invitee
    Accept {
        /// The invite's id
        id: String,
        /// The invitee's username; required on a database, ignored on a server
        #[arg(long, value_name = "NAME")]
        user: Option<String>,
    },
    /// Decline an invite as the invitee
    Decline {
        /// The invite's id
        id: String,
        /// The invitee's username; required on a database, ignored on a server
        #[arg(long, value_name = "NAME")]
        user: Option<String>,
    },
    /// Revoke a pending invite
    Revoke {
        /// The invite's id
        id: String,
        /// The account that the invite is for (name or id); required on a server
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
        // `by` is not sent: on a server the logged-in user is the inviter.
        InviteCommand::Send { account, to, by: _, mode } => {
            let path = path("/api/v1/accounts/{}/invites", &[&account]);
            let written = remote.post(&path, &json!({"username": to, "mode": mode})).await?;
            remote::done(config.json, &written, json!({}))
        }
        InviteCommand::List { account: Some(account), .. } => {
            let invites = remote.list(&path("/api/v1/accounts/{}/invites", &[&account])).await?;
            output::list(config.json, "invites", &COLUMNS, &invites)
        }
        // A server lists only the invites of the logged-in user, so `--user` is not sent.
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
            let rule = "required on a server; name the account that the invite is for";
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
                        user.ok_or(Invalid { field: "--account", rule: "required unless --user is given" })?;
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
