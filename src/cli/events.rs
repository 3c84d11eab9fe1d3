//! `tenure events`: the log, with sealed fields open to who holds the key ring.

use clap::{Args, Subcommand};
use futures::{StreamExt as _, pin_mut};
use serde_json::Value;

use super::remote::{Remote, path};
use super::{open, output};
use crate::Tenure;
use crate::aggregates::field::Invalid;
use crate::clock::Timestamp;
use crate::config::Config;
use crate::event_log::read::Filter;
use crate::event_log::{ReadError, RecordedEvent, StreamId};

#[derive(Subcommand)]
pub(super) enum EventsCommand {
    /// The events so far
    Show(Selection),
    /// The newest events, and each further one as it is committed
    Tail(Selection),
}

#[derive(Args)]
pub(super) struct Selection {
    /// Only of this account (name or id)
    #[arg(long)]
    account: Option<String>,
    /// Only of this stream, as TYPE/ID
    #[arg(long)]
    stream: Option<String>,
    /// Only of this type, for example account.opened; repeatable
    #[arg(long = "type", value_name = "TYPE")]
    types: Vec<String>,
    /// Only recorded at or after this time (RFC 3339)
    #[arg(long)]
    since: Option<String>,
    /// Only recorded before this time (RFC 3339)
    #[arg(long)]
    until: Option<String>,
    /// Only after this position
    #[arg(long, value_name = "POSITION")]
    after: Option<i64>,
    /// At most so many events
    #[arg(long)]
    limit: Option<usize>,
}

pub(super) async fn run(config: Config, command: EventsCommand) -> anyhow::Result<()> {
    if let Some(remote) = Remote::of(&config)? {
        return over_http(&remote, &config, command).await;
    }
    let opened = open::open(&config).await?;
    let result = match command {
        EventsCommand::Show(selection) => show(&opened.tenure, &config, selection).await,
        EventsCommand::Tail(selection) => tail(&opened.tenure, &config, selection).await,
    };
    opened.close().await?;
    result
}

/// How often a server is asked for further events.
const ASK_EVERY: std::time::Duration = std::time::Duration::from_secs(1);

async fn over_http(remote: &Remote, config: &Config, command: EventsCommand) -> anyhow::Result<()> {
    let (selection, follow) = match command {
        EventsCommand::Show(selection) => (selection, false),
        EventsCommand::Tail(selection) => (selection, true),
    };
    let rule = "on the database alone: through a server events are chosen by --account, --type and --after";
    for (field, given) in [
        ("--stream", selection.stream.is_some()),
        ("--since", selection.since.is_some()),
        ("--until", selection.until.is_some()),
        ("--type", selection.types.len() > 1),
    ] {
        if given {
            return Err(Invalid { field, rule }.into());
        }
    }
    let feed = match &selection.account {
        Some(account) => path("/api/v1/accounts/{}/events", &[account]),
        None => "/api/v1/events".to_owned(),
    };
    let kind = selection.types.first().map_or_else(String::new, |kind| path("&type={}", &[kind]));
    let mut left = selection.limit.unwrap_or(usize::MAX);
    let mut after = match (selection.after, follow) {
        (Some(after), _) => after,
        (None, false) => 0,
        (None, true) => {
            let newest = remote.get(&format!("{feed}?limit=10{kind}")).await?;
            let oldest = newest["items"].as_array().and_then(|items| items.last());
            oldest.and_then(|event| event["position"].as_i64()).map_or(0, |position| position - 1)
        }
    };
    while left > 0 {
        let page = remote.get(&format!("{feed}?order=asc&limit=200&cursor={after}{kind}")).await?;
        let items = page["items"].as_array().map(Vec::as_slice).unwrap_or_default();
        for event in items.iter().take(left) {
            if config.json {
                output::json(event)?;
            } else {
                output::line(&as_text(event))?;
            }
        }
        left = left.saturating_sub(items.len());
        after = page["next_cursor"].as_i64().unwrap_or(after);
        if items.is_empty() {
            if !follow {
                return Ok(());
            }
            tokio::select! {
                () = tokio::time::sleep(ASK_EVERY) => {}
                _ = tokio::signal::ctrl_c() => return Ok(()),
            }
        }
    }
    Ok(())
}

async fn filter(tenure: &Tenure, selection: &Selection) -> anyhow::Result<Filter> {
    let time = |text: &Option<String>, flag: &str| {
        text.as_deref()
            .map(|text| {
                Timestamp::parse(text).map_err(|_| {
                    anyhow::anyhow!("{flag}: a time as in RFC 3339, for example 2026-01-31T12:00:00Z")
                })
            })
            .transpose()
    };
    let account = match &selection.account {
        None => None,
        Some(slug) => match slug.parse::<uuid::Uuid>() {
            // Also the history of an account that has been closed can be asked for by its id.
            Ok(id) => Some(id),
            Err(_) => Some(tenure.reader().account_by_name(slug).await?.id.as_uuid()),
        },
    };
    let stream = selection
        .stream
        .as_deref()
        .map(|text| {
            let (stream_type, id) = text
                .split_once('/')
                .ok_or_else(|| anyhow::anyhow!("--stream: TYPE/ID, for example account/0190…"))?;
            anyhow::Ok(StreamId { stream_type: stream_type.to_owned().into(), id: id.into() })
        })
        .transpose()?;
    Ok(Filter {
        account,
        stream,
        types: selection.types.clone(),
        since: time(&selection.since, "--since")?,
        until: time(&selection.until, "--until")?,
    })
}

async fn show(tenure: &Tenure, config: &Config, selection: Selection) -> anyhow::Result<()> {
    let filter = filter(tenure, &selection).await?;
    let mut left = selection.limit.unwrap_or(usize::MAX);
    let pages = tenure.log().read(selection.after.unwrap_or(0), filter);
    pin_mut!(pages);
    while let Some(page) = pages.next().await {
        let page = page?;
        print(tenure, config, &page[..page.len().min(left)]).await?;
        left = left.saturating_sub(page.len());
        if left == 0 {
            break;
        }
    }
    Ok(())
}

async fn tail(tenure: &Tenure, config: &Config, selection: Selection) -> anyhow::Result<()> {
    let filter = filter(tenure, &selection).await?;
    let after = match selection.after {
        Some(after) => after,
        None => (tenure.log().newest().await? - 10).max(0),
    };
    let mut follower = tenure.log().follow(after);
    let mut left = selection.limit.unwrap_or(usize::MAX);
    while left > 0 {
        let events = tokio::select! {
            events = follower.next() => events,
            _ = tokio::signal::ctrl_c() => return Ok(()),
        };
        match events {
            Ok(events) => {
                let wanted: Vec<_> =
                    events.into_iter().filter(|event| filter.matches(event)).take(left).collect();
                left -= wanted.len();
                print(tenure, config, &wanted).await?;
            }
            Err(error @ ReadError::Unavailable(_)) => {
                tracing::warn!(%error, "waiting for the database");
                tokio::time::sleep(std::time::Duration::from_secs(1)).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

async fn print(tenure: &Tenure, config: &Config, events: &[RecordedEvent]) -> anyhow::Result<()> {
    for event in events {
        let record = serde_json::to_value(tenure.describe(event).await?)?;
        if config.json {
            output::json(&record)?;
        } else {
            output::line(&as_text(&record))?;
        }
    }
    Ok(())
}

fn as_text(event: &Value) -> String {
    let text = |name: &str| event[name].as_str().unwrap_or_default().to_owned();
    let sealed = match &event["sealed"] {
        Value::Object(fields) if !fields.is_empty() => format!("  sealed {}", event["sealed"]),
        _ => String::new(),
    };
    let note = event["unreadable"].as_str().map_or_else(String::new, |note| format!("  ! {note}"));
    format!(
        "{:>8}  {}  {:<28} {}/{} v{}  {}{sealed}{note}",
        event["position"].as_i64().unwrap_or_default(),
        text("recorded_at"),
        text("event_type"),
        text("stream_type"),
        text("stream_id"),
        event["version"],
        event["payload"]
    )
}
