//! `tenure pipe`: creates, lists and deletes the pipes of a source, and changes their retention.

use futures::TryStreamExt as _;
use std::time::Duration;

use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::{Value, json};

use super::remote::{self, Remote, path};
use super::{lookup, open, output};
use crate::Tenure;
use crate::aggregates::source::Retention;
use crate::config::Config;
use crate::config::duration::duration;
use crate::context::{Actor, Context};
use crate::operations::Resource;

/// The arguments that identify a pipe.
#[derive(Args)]
pub(super) struct Place {
    /// The pipe's name
    name: String,
    /// The handle of the pipe's source
    #[arg(long, value_name = "HANDLE")]
    source: String,
    /// The account's name or id
    #[arg(long)]
    account: String,
}

/// The retention of a pipe; the server's default applies where a flag is missing.
#[derive(Args)]
pub(super) struct Kept {
    /// How long a message is kept, in s, m, h or d, at most 365d, for example 12h [default: set by the server]
    #[arg(long, value_parser = duration)]
    ttl: Option<Duration>,
    /// The maximum number of messages kept, 1 to 10000000 [default: set by the server]
    #[arg(long)]
    max_msgs: Option<i64>,
    /// The maximum number of bytes kept, 1 to 8589934592 (8 GiB) [default: set by the server]
    #[arg(long)]
    max_bytes: Option<i64>,
}

impl Kept {
    fn retention(&self) -> Retention {
        // Saturated: the check of the range refuses the value.
        let ttl_seconds = self.ttl.map(|ttl| i64::try_from(ttl.as_secs()).unwrap_or(i64::MAX));
        Retention { ttl_seconds, max_msgs: self.max_msgs, max_bytes: self.max_bytes }
    }
}

#[derive(Subcommand)]
pub(super) enum PipeCommand {
    /// Create a pipe
    Create {
        #[command(flatten)]
        place: Place,
        /// The username of the creator; required on a database, ignored on a server
        #[arg(long, value_name = "NAME")]
        by: Option<String>,
        #[command(flatten)]
        kept: Kept,
    },
    /// List the pipes of a source that users created
    List {
        /// The handle of the source
        #[arg(long, value_name = "HANDLE")]
        source: String,
        /// The account's name or id
        #[arg(long)]
        account: String,
    },
    /// Set the retention of a pipe; flags left out fall back to the server's defaults
    Retention {
        #[command(flatten)]
        place: Place,
        #[command(flatten)]
        kept: Kept,
    },
    /// Delete a pipe
    Delete {
        #[command(flatten)]
        place: Place,
    },
}

const COLUMNS: [&str; 6] = ["name", "ttl_seconds", "max_msgs", "max_bytes", "created_at", "id"];

pub(super) async fn run(config: Config, command: PipeCommand) -> anyhow::Result<()> {
    if let Some(remote) = Remote::of(&config)? {
        return over_http(&remote, &config, command).await;
    }
    let opened = open::open(&config).await?;
    let result = carry_out(&opened.tenure, &config, command).await;
    opened.close().await?;
    result
}

async fn over_http(remote: &Remote, config: &Config, command: PipeCommand) -> anyhow::Result<()> {
    let of = |account: &str, source: &str| path("/api/v1/accounts/{}/sources/{}/pipes", &[account, source]);
    let keeps = |kept: &Kept| {
        let kept = kept.retention();
        json!({"ttl_seconds": kept.ttl_seconds, "max_msgs": kept.max_msgs, "max_bytes": kept.max_bytes})
    };
    match command {
        PipeCommand::Create { place, by: _, kept } => {
            let mut body = keeps(&kept);
            body["name"] = place.name.into();
            let written = remote.post(&of(&place.account, &place.source), &body).await?;
            remote::done(config.json, &written, json!({}))
        }
        PipeCommand::List { source, account } => {
            let mut pipes = remote.list(&of(&account, &source)).await?;
            // The server also lists the automatic pipes, such as `inbox`; this lists only those that users created.
            pipes.retain(|pipe| pipe["automatic"] == false);
            output::list(config.json, "pipes", &COLUMNS, &pipes)
        }
        PipeCommand::Retention { place, kept } => {
            let name = path("/{}/retention", &[&place.name]);
            let path = format!("{}{name}", of(&place.account, &place.source));
            let written = remote.send_json(Method::PUT, &path, &keeps(&kept)).await?;
            remote::done(config.json, &written, json!({}))
        }
        PipeCommand::Delete { place } => {
            let path = format!("{}{}", of(&place.account, &place.source), path("/{}", &[&place.name]));
            remote::done(config.json, &remote.act(Method::DELETE, &path).await?, json!({"name": place.name}))
        }
    }
}

async fn carry_out(tenure: &Tenure, config: &Config, command: PipeCommand) -> anyhow::Result<()> {
    let operator = Context::of(Actor::Operator);
    match command {
        PipeCommand::Create { place, by, kept } => {
            let account = lookup::account(tenure, &place.account).await?;
            let by = lookup::named(tenure, by.as_deref(), "--by").await?;
            let context = lookup::on_behalf_of(by.id);
            let (source, name, retention) = (&place.source, &place.name, kept.retention());
            let done = tenure.create_pipe(&context, account.id, Some(by.id), source, name, retention).await?;
            let answer = described(tenure, json!({"id": done.answer, "name": name}), retention);
            output::done(config.json, &done, answer)
        }
        PipeCommand::List { source, account } => {
            let account = lookup::account(tenure, &account).await?;
            let found = tenure.reader().source_by_handle(account.id, &source).await;
            let source = found.map_err(|error| lookup::missing(error, Resource::Source))?;
            let pipes = tenure.reader().pipes_for_source(source.id).try_collect::<Vec<_>>().await?;
            let rows = pipes.iter().map(|pipe| {
                let record = json!({
                    "id": pipe.id, "name": pipe.name, "created_by_user_id": pipe.created_by_user_id,
                    "created_at": pipe.created_at,
                });
                described(tenure, record, pipe.retention)
            });
            output::list(config.json, "pipes", &COLUMNS, &rows.collect::<Vec<_>>())
        }
        PipeCommand::Retention { place, kept } => {
            let account = lookup::account(tenure, &place.account).await?;
            let (source, name, retention) = (&place.source, &place.name, kept.retention());
            let done = tenure.change_pipe_retention(&operator, account.id, source, name, retention).await?;
            output::done(config.json, &done, described(tenure, json!({"name": name}), retention))
        }
        PipeCommand::Delete { place } => {
            let account = lookup::account(tenure, &place.account).await?;
            let done = tenure.delete_pipe(&operator, account.id, &place.source, &place.name).await?;
            output::done(config.json, &done, json!({"name": place.name}))
        }
    }
}

/// Adds the retention to a pipe's record, with the server's defaults filled in.
fn described(tenure: &Tenure, mut record: Value, retention: Retention) -> Value {
    let resolved = retention.resolved(&tenure.rules().retention);
    record["ttl_seconds"] = json!(resolved.ttl_seconds);
    record["max_msgs"] = json!(resolved.max_msgs);
    record["max_bytes"] = json!(resolved.max_bytes);
    record
}
