//! `tenure source`: creates, lists and deletes the sources of an account.

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
pub(super) enum SourceCommand {
    /// Create a source
    Create {
        /// The source's handle, unique within the account
        handle: String,
        /// The account's name or id
        #[arg(long)]
        account: String,
        /// The username of the creator; required on a database, ignored on a server
        #[arg(long, value_name = "NAME")]
        by: Option<String>,
        /// The kind of the source: `message` or `pty` [default: message]
        #[arg(long)]
        kind: Option<String>,
    },
    /// List the sources of an account with their pipes
    List {
        /// The account's name or id
        #[arg(long)]
        account: String,
    },
    /// Delete a source and its pipes
    Delete {
        /// The source's handle
        handle: String,
        /// The account's name or id
        #[arg(long)]
        account: String,
    },
}

const COLUMNS: [&str; 6] = ["handle", "kind", "pipes", "created_at", "last_broadcast_at", "id"];

pub(super) async fn run(config: Config, command: SourceCommand) -> anyhow::Result<()> {
    if let Some(remote) = Remote::of(&config)? {
        return over_http(&remote, &config, command).await;
    }
    let opened = open::open(&config).await?;
    let result = carry_out(&opened.tenure, &config, command).await;
    opened.close().await?;
    result
}

async fn over_http(remote: &Remote, config: &Config, command: SourceCommand) -> anyhow::Result<()> {
    match command {
        SourceCommand::Create { handle, account, by: _, kind } => {
            let path = path("/api/v1/accounts/{}/sources", &[&account]);
            let written = remote.post(&path, &json!({"handle": handle, "kind": kind})).await?;
            remote::done(config.json, &written, json!({}))
        }
        SourceCommand::List { account } => {
            let mut sources = remote.list(&path("/api/v1/accounts/{}/sources", &[&account])).await?;
            for source in &mut sources {
                let handle = source["handle"].as_str().unwrap_or_default();
                let pipes =
                    remote.list(&path("/api/v1/accounts/{}/sources/{}/pipes", &[&account, handle])).await?;
                source["pipes"] = pipes.into_iter().map(|pipe| pipe["name"].clone()).collect();
            }
            output::list(config.json, "sources", &COLUMNS, &sources)
        }
        SourceCommand::Delete { handle, account } => {
            let path = path("/api/v1/accounts/{}/sources/{}", &[&account, &handle]);
            remote::done(config.json, &remote.act(Method::DELETE, &path).await?, json!({"handle": handle}))
        }
    }
}

async fn carry_out(tenure: &Tenure, config: &Config, command: SourceCommand) -> anyhow::Result<()> {
    match command {
        SourceCommand::Create { handle, account, by, kind } => {
            let account = lookup::account(tenure, &account).await?;
            let by = lookup::named(tenure, by.as_deref(), "--by").await?;
            let context = lookup::on_behalf_of(by.id);
            let done =
                tenure.create_source(&context, account.id, Some(by.id), &handle, kind.as_deref()).await?;
            let answer = json!({"id": done.answer, "account_id": account.id, "handle": handle});
            output::done(config.json, &done, answer)
        }
        SourceCommand::List { account } => {
            let account = lookup::account(tenure, &account).await?;
            let mut rows = Vec::new();
            for source in tenure.reader().sources_for_account(account.id).try_collect::<Vec<_>>().await? {
                let pipes = tenure.reader().pipes_for_source(source.id).try_collect::<Vec<_>>().await?;
                // Automatic pipes are not stored; they follow from the kind.
                let automatic = source.kind.auto_pipes().iter().map(|name| (*name).to_owned());
                let pipes: Vec<String> = automatic.chain(pipes.into_iter().map(|pipe| pipe.name)).collect();
                rows.push(json!({
                    "id": source.id, "handle": source.handle, "kind": source.kind.as_str(),
                    "created_by_user_id": source.created_by_user_id, "created_at": source.created_at,
                    "pipes": pipes, "last_broadcast_at": source.last_broadcast_at,
                }));
            }
            output::list(config.json, "sources", &COLUMNS, &rows)
        }
        SourceCommand::Delete { handle, account } => {
            let account = lookup::account(tenure, &account).await?;
            let done = tenure.delete_source(&Context::of(Actor::Operator), account.id, &handle).await?;
            output::done(config.json, &done, json!({"id": done.answer, "handle": handle}))
        }
    }
}
