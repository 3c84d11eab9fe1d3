//! `tenure account`: opens, lists, transfers and closes accounts, and manages their members.

use clap::Subcommand;
use futures::TryStreamExt as _;
use reqwest::Method;
use serde_json::json;

use super::remote::{self, Remote, path};
use super::{lookup, open, output};
use crate::Tenure;
use crate::config::Config;
use crate::context::{Actor, Context};

#[derive(Subcommand)]
pub(super) enum AccountCommand {
    /// Open an account
    Open {
        /// The account's name, unique without case: 1 to 64 characters of A-Z a-z 0-9 . _ -
        name: String,
        /// The owner's username; required on a database [default on a server: the logged-in user]
        #[arg(long)]
        owner: Option<String>,
    },
    /// List accounts: all on a database, those of the logged-in user on a server, or those of one user
    List {
        /// Only accounts that this user owns or is a member of
        #[arg(long, value_name = "NAME")]
        user: Option<String>,
    },
    /// List the owner and the members of an account
    Members {
        /// The account's name or id
        account: String,
    },
    /// Add a user to an account as a member
    AddMember {
        /// The account's name or id
        account: String,
        /// The new member's username
        user: String,
    },
    /// Remove a member and revoke the API keys that the user minted in the account
    RemoveMember {
        /// The account's name or id
        account: String,
        /// The member's username
        user: String,
        /// Keep the API keys that the user minted
        #[arg(long)]
        keep_keys: bool,
    },
    /// Transfer ownership to a member; the previous owner becomes a member
    Transfer {
        /// The account's name or id
        account: String,
        /// The username of the new owner
        #[arg(long)]
        to: String,
    },
    /// Close an account for good, with its memberships, API keys, invites and sources
    Close {
        /// The account's name or id
        account: String,
    },
}

const COLUMNS: [&str; 4] = ["name", "id", "owner_user_id", "created_at"];

pub(super) async fn run(config: Config, command: AccountCommand) -> anyhow::Result<()> {
    if let Some(remote) = Remote::of(&config)? {
        return over_http(&remote, &config, command).await;
    }
    let opened = open::open(&config).await?;
    let result = carry_out(&opened.tenure, &config, command).await;
    opened.close().await?;
    result
}

async fn over_http(remote: &Remote, config: &Config, command: AccountCommand) -> anyhow::Result<()> {
    let named = |account: &str| path("/api/v1/accounts/{}", &[account]);
    match command {
        AccountCommand::Open { name, owner } => {
            let written = remote.post("/api/v1/accounts", &json!({"name": name, "owner": owner})).await?;
            remote::done(config.json, &written, json!({}))
        }
        AccountCommand::List { user } => {
            let list = match user {
                Some(user) => path("/api/v1/users/{}/accounts", &[&user]),
                None => "/api/v1/users/me/accounts".to_owned(),
            };
            output::list(config.json, "accounts", &COLUMNS, &remote.list(&list).await?)
        }
        AccountCommand::Members { account } => {
            let members = remote.list(&format!("{}/members", named(&account))).await?;
            output::list(config.json, "members", &["username", "role", "since", "user_id"], &members)
        }
        AccountCommand::AddMember { account, user } => {
            let path = path("/api/v1/accounts/{}/members/{}", &[&account, &user]);
            remote::done(config.json, &remote.act(Method::PUT, &path).await?, json!({}))
        }
        AccountCommand::RemoveMember { account, user, keep_keys } => {
            let path = path("/api/v1/accounts/{}/members/{}", &[&account, &user]);
            let written = remote.act(Method::DELETE, &format!("{path}?keep_keys={keep_keys}")).await?;
            remote::done(config.json, &written, json!({}))
        }
        AccountCommand::Transfer { account, to } => {
            let written = remote.post(&format!("{}/transfer", named(&account)), &json!({"to": to})).await?;
            remote::done(config.json, &written, json!({}))
        }
        AccountCommand::Close { account } => {
            remote::done(config.json, &remote.act(Method::DELETE, &named(&account)).await?, json!({}))
        }
    }
}

async fn carry_out(tenure: &Tenure, config: &Config, command: AccountCommand) -> anyhow::Result<()> {
    let operator = Context::of(Actor::Operator);
    match command {
        AccountCommand::Open { name, owner } => {
            let owner = lookup::named(tenure, owner.as_deref(), "--owner").await?;
            let done = tenure.open_account(&operator, &name, Some(owner.id)).await?;
            if config.json {
                let answer = json!({
                    "id": done.answer, "name": name, "owner_user_id": owner.id, "position": done.checkpoint.to_string(),
                });
                return output::json(&answer);
            }
            output::line(&format!("account {name} ({}): {}", done.answer, output::outcome(&done)))
        }
        AccountCommand::List { user } => {
            let accounts = match user {
                Some(user) => {
                    let user = lookup::user(tenure, &user).await?;
                    tenure.reader().accounts_for_user(user.id).try_collect::<Vec<_>>().await?
                }
                None => tenure.reader().accounts().try_collect::<Vec<_>>().await?,
            };
            let rows = accounts.iter().map(|account| {
                json!({
                    "id": account.id, "name": account.name, "owner_user_id": account.owner_user_id,
                    "created_at": account.created_at,
                })
            });
            output::list(config.json, "accounts", &COLUMNS, &rows.collect::<Vec<_>>())
        }
        AccountCommand::Members { account } => members(tenure, config, &account).await,
        AccountCommand::AddMember { account, user } => {
            let (account, user) =
                (lookup::account(tenure, &account).await?, lookup::user(tenure, &user).await?);
            let done = tenure.add_member(&operator, account.id, user.id).await?;
            output::done(config.json, &done, json!({"account_id": account.id, "user_id": user.id}))
        }
        AccountCommand::RemoveMember { account, user, keep_keys } => {
            let (account, user) =
                (lookup::account(tenure, &account).await?, lookup::user(tenure, &user).await?);
            let done = if keep_keys {
                tenure.remove_member_but_keep_keys(&operator, account.id, user.id).await?
            } else {
                tenure.remove_member(&operator, account.id, user.id).await?
            };
            let answer = json!({
                "account_id": account.id, "user_id": user.id, "revoked_api_key_count": done.answer.count,
                "revoked_api_keys": done.answer.first,
            });
            output::done(config.json, &done, answer)
        }
        AccountCommand::Transfer { account, to } => {
            let (account, to) = (lookup::account(tenure, &account).await?, lookup::user(tenure, &to).await?);
            let done = tenure.transfer_ownership(&operator, account.id, to.id).await?;
            output::done(config.json, &done, json!({"account_id": account.id, "owner_user_id": to.id}))
        }
        AccountCommand::Close { account } => {
            let account = lookup::account(tenure, &account).await?;
            let done = tenure.close_account(&operator, account.id).await?;
            // Cleared here, because no server may be running to do it.
            tenure.clear_away().await?;
            tenure.log().sweep_as_of_schemas().await?;
            output::done(config.json, &done, json!({"account_id": account.id}))
        }
    }
}

async fn members(tenure: &Tenure, config: &Config, account: &str) -> anyhow::Result<()> {
    let reader = tenure.reader();
    let account = lookup::account(tenure, account).await?;
    let owner = reader.user(account.owner_user_id).await?;
    let members = reader.members(account.id).try_collect::<Vec<_>>().await?;
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
    let mut rows =
        vec![vec![owner.username, "owner".to_owned(), account.created_at.to_string(), owner.id.to_string()]];
    rows.extend(members.into_iter().map(|member| {
        let user = member.user;
        vec![user.username, "member".to_owned(), member.added_at.to_string(), user.id.to_string()]
    }));
    output::table(&["username", "role", "since", "id"], rows)
}
