//! `tenure source`: named actors in an account.

use clap::Subcommand;
use serde_json::json;

use super::{lookup, open, output};
use crate::Tenure;
use crate::config::Config;
use crate::context::{Actor, Context};

#[derive(Subcommand)]
pub(super) enum SourceCommand {
    /// Make a source
    Create {
        /// What to call it
        handle: String,
        /// The account's name or id
        #[arg(long)]
        account: String,
        /// Who makes it
        #[arg(long, value_name = "NAME")]
        by: String,
        /// `message` or `pty`
        #[arg(long)]
        kind: Option<String>,
    },
    /// The sources of an account with their pipes
    List {
        /// The account's name or id
        #[arg(long)]
        account: String,
    },
    /// End a source with its pipes
    Delete {
        /// What it is called
        handle: String,
        /// The account's name or id
        #[arg(long)]
        account: String,
    },
}

pub(super) async fn run(config: Config, command: SourceCommand) -> anyhow::Result<()> {
    let opened = open::open(&config).await?;
    let result = carry_out(&opened.tenure, &config, command).await;
    opened.close().await?;
    result
}

async fn carry_out(tenure: &Tenure, config: &Config, command: SourceCommand) -> anyhow::Result<()> {
    match command {
        SourceCommand::Create { handle, account, by, kind } => {
            let (account, by) = (lookup::account(tenure, &account).await?, lookup::user(tenure, &by).await?);
            let context = lookup::on_behalf_of(by.id);
            let done =
                tenure.create_source(&context, account.id, Some(by.id), &handle, kind.as_deref()).await?;
            let answer = json!({"id": done.answer, "account_id": account.id, "handle": handle});
            output::done(config.json, &done, answer)
        }
        SourceCommand::List { account } => {
            let account = lookup::account(tenure, &account).await?;
            let mut rows = Vec::new();
            for source in tenure.reader().sources_for_account(account.id).await? {
                let pipes = tenure.reader().pipes_for_source(source.id).await?;
                let automatic = source.kind.auto_pipes().iter().map(|name| (*name).to_owned());
                let pipes: Vec<String> = automatic.chain(pipes.into_iter().map(|pipe| pipe.name)).collect();
                rows.push(json!({
                    "id": source.id, "handle": source.handle, "kind": source.kind.as_str(),
                    "created_by_user_id": source.created_by_user_id, "created_at": source.created_at,
                    "pipes": pipes, "last_broadcast_at": source.last_broadcast_at,
                }));
            }
            let columns = ["handle", "kind", "pipes", "created_at", "last_broadcast_at", "id"];
            output::list(config.json, "sources", &columns, &rows)
        }
        SourceCommand::Delete { handle, account } => {
            let account = lookup::account(tenure, &account).await?;
            let done = tenure.delete_source(&Context::of(Actor::Operator), account.id, &handle).await?;
            output::done(config.json, &done, json!({"id": done.answer, "handle": handle}))
        }
    }
}
