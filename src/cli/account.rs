//! `tenure account`: tenants and their members.

use clap::Subcommand;
use serde_json::json;

use super::{open, output};
use crate::config::Config;
use crate::context::{Actor, Context};
use crate::dispatch::DispatchError;
use crate::operations::{Refusal, Thing};
use crate::projections::QueryError;

#[derive(Subcommand)]
pub(super) enum AccountCommand {
    /// Open an account
    Open {
        /// The account's name
        name: String,
        /// The username of its owner
        #[arg(long)]
        owner: String,
    },
    /// The owner and the members of an account
    Members {
        /// The account's name or id
        account: String,
    },
}

pub(super) async fn run(config: Config, command: AccountCommand) -> anyhow::Result<()> {
    let opened = open::open(&config).await?;
    let result = carry_out(&opened.tenure, &config, command).await;
    opened.close().await?;
    result
}

async fn carry_out(tenure: &crate::Tenure, config: &Config, command: AccountCommand) -> anyhow::Result<()> {
    match command {
        AccountCommand::Open { name, owner } => {
            let owner = tenure
                .reader()
                .user_by_username(&owner)
                .await
                .map_err(|error| missing(error, Thing::User))?;
            let context = Context::of(Actor::Operator);
            let done = tenure.open_account(&context, &name, Some(owner.id)).await?;
            if config.json {
                let answer = json!({
                    "id": done.answer, "name": name, "owner_user_id": owner.id, "position": done.position,
                });
                return output::json(&answer);
            }
            output::line(&format!("account {name} ({}): {}", done.answer, output::outcome(&done)))
        }
        AccountCommand::Members { account } => {
            let reader = tenure.reader();
            let account =
                reader.account_by_slug(&account).await.map_err(|error| missing(error, Thing::Account))?;
            let owner = reader.user(account.owner_user_id).await?;
            let members = reader.members(account.id).await?;
            if config.json {
                let members: Vec<_> = members
                    .iter()
                    .map(|member| {
                        json!({
                            "id": member.user.id, "username": member.user.username, "added_at": member.added_at,
                        })
                    })
                    .collect();
                let owner = json!({"id": owner.id, "username": owner.username});
                let account = json!({"id": account.id, "name": account.name});
                return output::json(&json!({"account": account, "owner": owner, "members": members}));
            }
            let mut rows = vec![vec![
                owner.username,
                "owner".to_owned(),
                account.created_at.to_string(),
                owner.id.to_string(),
            ]];
            rows.extend(members.into_iter().map(|member| {
                let user = member.user;
                vec![user.username, "member".to_owned(), member.added_at.to_string(), user.id.to_string()]
            }));
            output::table(&["username", "role", "since", "id"], rows)
        }
    }
}

fn missing(error: QueryError, thing: Thing) -> anyhow::Error {
    match error {
        QueryError::NotFound => DispatchError::Refused(Refusal::NotFound(thing)).into(),
        QueryError::Unavailable(_) => error.into(),
    }
}
