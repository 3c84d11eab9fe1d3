//! `tenure invite`: offers of membership.

use clap::Subcommand;
use serde_json::{Value, json};

use super::{lookup, open, output};
use crate::Tenure;
use crate::clock::Timestamp;
use crate::config::Config;
use crate::context::{Actor, Context};
use crate::operations::Thing;
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
        /// On whose behalf: the owner
        #[arg(long, value_name = "NAME")]
        by: String,
        /// How somebody who has not signed up yet must sign in: `github` or `internal`
        #[arg(long, default_value = "github")]
        mode: String,
    },
    /// All invites of an account, newest first; or the standing ones of a person, oldest first
    List {
        /// The account's name or id
        #[arg(long, required_unless_present = "user")]
        account: Option<String>,
        /// The person's username
        #[arg(long, value_name = "NAME", conflicts_with = "account")]
        user: Option<String>,
    },
    /// Take an invite, for the person it is addressed to
    Accept {
        /// The invite's id
        id: String,
        /// The person's username
        #[arg(long, value_name = "NAME")]
        user: String,
    },
    /// Turn an invite down, for the person it is addressed to
    Decline {
        /// The invite's id
        id: String,
        /// The person's username
        #[arg(long, value_name = "NAME")]
        user: String,
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

pub(super) async fn run(config: Config, command: InviteCommand) -> anyhow::Result<()> {
    let opened = open::open(&config).await?;
    let result = carry_out(&opened.tenure, &config, command).await;
    opened.close().await?;
    result
}

async fn carry_out(tenure: &Tenure, config: &Config, command: InviteCommand) -> anyhow::Result<()> {
    let now = tenure.clock().now();
    match command {
        InviteCommand::Send { account, to, by, mode } => {
            let (account, by) = (lookup::account(tenure, &account).await?, lookup::user(tenure, &by).await?);
            let mode = mode.parse()?;
            let context = lookup::on_behalf_of(by.id);
            let done = tenure.create_invite_for_mode(&context, account.id, &to, Some(by.id), mode).await?;
            let answer = json!({"id": done.answer, "account_id": account.id, "invitee_username": to});
            output::done(config.json, &done, answer)
        }
        InviteCommand::List { account, user } => {
            let columns = ["id", "account_name", "invitee_username", "status", "created_at", "expires_at"];
            let rows: Vec<Value> = match (account, user) {
                (Some(account), _) => {
                    let account = lookup::account(tenure, &account).await?;
                    let invites = tenure.reader().invites_for_account(account.id).await?;
                    invites.iter().map(|invite| record(invite, &account.name, now)).collect()
                }
                (None, user) => {
                    let user = user.unwrap_or_default();
                    let invites = tenure.reader().pending_invites_for_username(&user, now).await?;
                    invites.iter().map(|known| record(&known.invite, &known.account_name, now)).collect()
                }
            };
            output::list(config.json, "invites", &columns, &rows)
        }
        InviteCommand::Accept { id, user } => {
            let user = lookup::user(tenure, &user).await?;
            let invite = lookup::id(&id, Thing::Invite)?;
            let done = tenure.accept_invite(&lookup::on_behalf_of(user.id), invite, user.id).await?;
            output::done(config.json, &done, json!({"id": invite, "account_id": done.answer}))
        }
        InviteCommand::Decline { id, user } => {
            let user = lookup::user(tenure, &user).await?;
            let invite = lookup::id(&id, Thing::Invite)?;
            let done = tenure.decline_invite(&lookup::on_behalf_of(user.id), invite, user.id).await?;
            output::done(config.json, &done, json!({"id": invite, "account_id": done.answer}))
        }
        InviteCommand::Revoke { id, account } => {
            let account = match account {
                Some(account) => Some(lookup::account(tenure, &account).await?.id),
                None => None,
            };
            let invite = lookup::id(&id, Thing::Invite)?;
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
