//! `tenure subscriptions`: shows the subscriptions of services and lets operators act on them.

use std::sync::Arc;

use clap::Subcommand;
use serde_json::{Value, json};

use super::{open, output, who};
use crate::Tenure;
use crate::aggregates::field::Invalid;
use crate::config::Config;
use crate::event_log::{PositionToken, StreamId};
use crate::subscribers::{By, Overview, Subscriptions};

#[derive(Subcommand)]
pub(super) enum SubscriptionsCommand {
    /// List the subscriptions with their state, how far they are behind, and how many streams are parked
    List {
        /// Only subscriptions after this name
        #[arg(long)]
        after: Option<String>,
        /// The maximum number of subscriptions, at most 1000
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(i64).range(1..=1000))]
        limit: i64,
    },
    /// Show the slices of a subscription, its parked streams with their errors, and what operators did
    Show {
        /// The name of the subscription
        name: String,
        /// Only streams parked after this one, as type/id
        #[arg(long)]
        after: Option<String>,
        /// The maximum number of parked streams, and of acts, at most 1000
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(i64).range(1..=1000))]
        limit: i64,
    },
    /// Let the processes finish their current events, and hand out no further ones
    Pause {
        /// The name of the subscription
        name: String,
        #[command(flatten)]
        act: Act,
    },
    /// Go on after a pause, after a fault was removed, or in a log that was restored
    Resume {
        /// The name of the subscription
        name: String,
        #[command(flatten)]
        act: Act,
    },
    /// Handle the events of a parked stream, in order
    Unpark {
        /// The name of the subscription
        name: String,
        /// The stream, as type/id
        #[arg(required_unless_present = "all", conflicts_with = "all")]
        stream: Option<String>,
        /// All parked streams
        #[arg(long)]
        all: bool,
        #[command(flatten)]
        act: Act,
    },
    /// Pass over an event that a parked stream waits for, and handle those after it
    Skip {
        /// The name of the subscription
        name: String,
        /// The position of the event, as `show` prints it
        position: String,
        #[command(flatten)]
        act: Act,
    },
    /// Handle the events after a position again; running processes lose their slices and take them again
    Rewind {
        /// The name of the subscription
        name: String,
        /// The position: the `cursor` of an event (with --json), or 0 for the beginning
        #[arg(long)]
        to: String,
        #[command(flatten)]
        act: Act,
    },
    /// Remove a subscription that no process takes part in, with its checkpoints
    Remove {
        /// The name of the subscription
        name: String,
        #[command(flatten)]
        act: Act,
    },
}

#[derive(clap::Args)]
pub(super) struct Act {
    /// Why; it is recorded
    #[arg(long)]
    reason: String,
    /// Who does this; it is recorded [default: the name of the user who runs the command]
    #[arg(long, value_name = "NAME")]
    by: Option<String>,
}

impl Act {
    fn by(&self) -> anyhow::Result<By> {
        Ok(By::new(&who::login(self.by.clone()), &self.reason)?)
    }
}

const OVERVIEW: [&str; 8] =
    ["name", "version", "state", "slices", "held", "lag_events", "lag_seconds", "parked_streams"];
const SLICES: [&str; 5] = ["slice", "position", "holder", "deliveries", "failure"];
const PARKED: [&str; 7] =
    ["stream", "position", "event_type", "waiting", "failure", "parked_at", "released_at"];
const ACTS: [&str; 6] = ["acted_at", "act", "actor", "reason", "stream", "position"];

pub(super) async fn run(config: Config, command: SubscriptionsCommand) -> anyhow::Result<()> {
    let opened = open::open(&config).await?;
    let result = carry_out(&opened.tenure, &config, command).await;
    opened.close().await?;
    result
}

async fn carry_out(tenure: &Tenure, config: &Config, command: SubscriptionsCommand) -> anyhow::Result<()> {
    let subscriptions = Subscriptions::of(tenure.log());
    match command {
        SubscriptionsCommand::List { after, limit } => {
            let found = subscriptions.list(after.as_deref().unwrap_or(""), limit).await?;
            let records: Vec<Value> = found.iter().map(record).collect::<Result<_, _>>()?;
            output::list(config.json, "subscriptions", &OVERVIEW, &records)
        }
        SubscriptionsCommand::Show { name, after, limit } => {
            let after = after.as_deref().map(stream).transpose()?;
            show(&subscriptions, config, &name, after.as_ref(), limit).await
        }
        SubscriptionsCommand::Pause { name, act } => {
            subscriptions.pause(&name, &act.by()?).await?;
            said(config, &name, "paused", "paused; its processes finish their current events")
        }
        SubscriptionsCommand::Resume { name, act } => {
            subscriptions.resume(&name, &act.by()?).await?;
            said(config, &name, "resumed", "goes on")
        }
        SubscriptionsCommand::Unpark { name, stream: text, all: _, act } => {
            let parked = text.as_deref().map(stream).transpose()?;
            let count = subscriptions.unpark(&name, parked.as_ref(), &act.by()?).await?;
            if config.json {
                return output::json(&json!({"name": name, "unparked_streams": count}));
            }
            output::line(&format!("{name}: {count} streams unparked"))
        }
        SubscriptionsCommand::Skip { name, position, act } => {
            let token = token(tenure, &position)?;
            let skipped = subscriptions.skip(&name, token, &act.by()?).await?;
            if config.json {
                let position = token.to_string();
                return output::json(
                    &json!({"name": name, "skipped": position, "stream": skipped.to_string()}),
                );
            }
            output::line(&format!("{name}: the event at {token} is passed over; {skipped} goes on after it"))
        }
        SubscriptionsCommand::Rewind { name, to, act } => {
            let token = token(tenure, &to)?;
            let slices = subscriptions.rewind(&name, token, &act.by()?).await?;
            if config.json {
                return output::json(&json!({"name": name, "position": token.to_string(), "slices": slices}));
            }
            output::line(&format!("{name}: {slices} slices moved back to {token}"))
        }
        SubscriptionsCommand::Remove { name, act } => {
            subscriptions.remove(&name, &act.by()?).await?;
            said(config, &name, "removed", "removed")
        }
    }
}

async fn show(
    subscriptions: &Subscriptions,
    config: &Config,
    name: &str,
    after: Option<&StreamId>,
    limit: i64,
) -> anyhow::Result<()> {
    let overview = record(&subscriptions.overview(name).await?)?;
    let slices = values(&subscriptions.slices(name).await?)?;
    let parked = values(&subscriptions.parked(name, after, limit).await?)?;
    let acts = values(&subscriptions.acts(name, None, limit).await?)?;
    if config.json {
        let mut all = overview;
        all["slices_shown"] = slices.into();
        all["parked"] = parked.into();
        all["acts"] = acts.into();
        return output::json(&all);
    }
    output::list(false, "", &OVERVIEW, &[overview])?;
    output::list(false, "", &SLICES, &slices)?;
    if !parked.is_empty() {
        output::line("parked streams:")?;
        output::list(false, "", &PARKED, &parked)?;
    }
    if !acts.is_empty() {
        output::line("acts of operators, newest first:")?;
        output::list(false, "", &ACTS, &acts)?;
    }
    Ok(())
}

/// A subscription as JSON, with its lag rounded to milliseconds.
fn record(overview: &Overview) -> Result<Value, serde_json::Error> {
    let mut value = serde_json::to_value(overview)?;
    value["lag_seconds"] = ((overview.lag_seconds * 1_000.0).round() / 1_000.0).into();
    Ok(value)
}

fn values<T: serde::Serialize>(records: &[T]) -> Result<Vec<Value>, serde_json::Error> {
    records.iter().map(serde_json::to_value).collect()
}

fn said(config: &Config, name: &str, done: &str, text: &str) -> anyhow::Result<()> {
    if config.json {
        return output::json(&json!({"name": name, done: true}));
    }
    output::line(&format!("{name}: {text}"))
}

/// Parses a stream from `<type>/<id>`.
fn stream(text: &str) -> anyhow::Result<StreamId> {
    let parts = text.split_once('/').filter(|(stream_type, id)| !stream_type.is_empty() && !id.is_empty());
    let (stream_type, id) =
        parts.ok_or(Invalid { field: "stream", rule: "must be type/id, for example account/0198…" })?;
    Ok(StreamId { stream_type: stream_type.to_owned().into(), id: Arc::from(id) })
}

/// Parses a position; 0 is the beginning in every epoch.
fn token(tenure: &Tenure, text: &str) -> anyhow::Result<PositionToken> {
    if text == "0" {
        return Ok(PositionToken { epoch: tenure.log().seen().get().epoch, position: 0 });
    }
    let rule = "must be a position that `tenure subscriptions show` or an event list printed, or 0";
    Ok(text.parse().map_err(|_| Invalid { field: "position", rule })?)
}
