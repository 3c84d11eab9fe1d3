//! `tenure events`: shows and follows the log, with sealed fields decrypted where the key ring allows it.

use clap::{Args, Subcommand};
use futures::{StreamExt as _, pin_mut};
use serde_json::Value;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use super::remote::{Remote, path};
use super::{open, output};
use crate::Tenure;
use crate::aggregates::field::Invalid;
use crate::clock::Timestamp;
use crate::codec::CodecError;
use crate::config::Config;
use crate::credentials::key_ring::KeyLoadError;
use crate::event_description::asyncapi;
use crate::event_log::read::Filter;
use crate::event_log::{PositionToken, ReadError, RecordedEvent, StreamId};
use crate::history::EventRecord;

#[derive(Subcommand)]
pub(super) enum EventsCommand {
    /// Show the events stored so far
    Show(Selection),
    /// Follow the log: show the newest events, then each new one as it is committed
    Tail(Selection),
    /// Print the document of `AsyncAPI` 3.0 on the events that are relayed to NATS
    Asyncapi,
}

#[derive(Args)]
pub(super) struct Selection {
    /// Only events of this account (name or id)
    #[arg(long)]
    account: Option<String>,
    /// Only events of this stream, as TYPE/ID, for example account/0190…; on a database
    #[arg(long)]
    stream: Option<String>,
    /// Only events of this type, for example account.opened; repeatable on a database
    #[arg(long = "type", value_name = "TYPE")]
    types: Vec<String>,
    /// Only events recorded at or after this time (RFC 3339), for example 2026-01-31T12:00:00Z; on a database
    #[arg(long)]
    since: Option<String>,
    /// Only events recorded before this time (RFC 3339), for example 2026-01-31T12:00:00Z; on a database
    #[arg(long)]
    until: Option<String>,
    /// Only events after this position: the `position` of a write or the `cursor` of an event (with --json), or 0 for
    /// the start
    #[arg(long, value_name = "POSITION")]
    after: Option<String>,
    /// The maximum number of events [default: no limit]
    #[arg(long)]
    limit: Option<usize>,
}

pub(super) async fn run(config: Config, command: EventsCommand) -> anyhow::Result<()> {
    let (selection, follows) = match command {
        EventsCommand::Show(selection) => (selection, false),
        EventsCommand::Tail(selection) => (selection, true),
        EventsCommand::Asyncapi => return output::json(&asyncapi(|_, _| None)),
    };
    if let Some(remote) = Remote::of(&config)? {
        let reading = over_http(&remote, &config, selection, follows);
        return if follows { until_interrupted(reading).await } else { reading.await };
    }
    let opened = open::open(&config).await?;
    let result = if follows {
        until_interrupted(tail(&opened.tenure, &config, selection)).await
    } else {
        show(&opened.tenure, &config, selection).await
    };
    opened.close().await?;
    result
}

/// Ends `printing` at Ctrl-C, whatever it waits for; a second Ctrl-C ends the process.
async fn until_interrupted(printing: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    // One stream for the whole time: a signal between two of them would be lost.
    let mut interrupts = signal(SignalKind::interrupt())?;
    let (interrupted, first) = oneshot::channel();
    tokio::spawn(async move {
        interrupts.recv().await;
        let _ = interrupted.send(());
        // The first one does nothing while printing is blocked by a full pipe, or a database hangs at the close.
        interrupts.recv().await;
        std::process::exit(130);
    });
    tokio::select! {
        result = printing => result,
        _ = first => Ok(()),
    }
}

/// How many of the newest events a tail starts with.
const NEWEST: i64 = 10;

/// The value of `--after` that means the start of the log.
const START: &str = "0";

/// How often a tail polls a server for new events.
const ASK_EVERY: std::time::Duration = std::time::Duration::from_secs(1);

async fn over_http(
    remote: &Remote,
    config: &Config,
    selection: Selection,
    follow: bool,
) -> anyhow::Result<()> {
    let rule = "only on a database; on a server, select events with --account, one --type and --after";
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
        (None, true) => {
            // One extra event, because the cursor of the page lies before the first event to show. A short log has no
            // cursor and is shown from the start.
            let newest = remote.get(&format!("{feed}?limit={}{kind}", NEWEST + 1)).await?;
            newest["next_cursor"].as_str().map(str::to_owned)
        }
        (after, _) => after.filter(|after| after != START),
    };
    while left > 0 {
        let cursor = after.as_deref().map_or_else(String::new, |after| path("&cursor={}", &[after]));
        let page = match remote.get(&format!("{feed}?order=asc&limit=200{cursor}{kind}")).await {
            Err(error) if follow && error.exit_code() == 5 => {
                tracing::warn!(%error, "waiting for the server");
                tokio::time::sleep(WAIT).await;
                continue;
            }
            page => page?,
        };
        let items = page["items"].as_array().map(Vec::as_slice).unwrap_or_default();
        for event in items.iter().take(left) {
            if config.json {
                output::json(event)?;
            } else {
                output::line(&as_text(event))?;
            }
        }
        left = left.saturating_sub(items.len());
        let next = page["next_cursor"].as_str().map(str::to_owned).or_else(|| after.clone());
        // An empty page with a new cursor is not the end: a search by type may scan many events without a match.
        let is_at_end = items.is_empty() && next == after;
        after = next;
        if is_at_end {
            if !follow {
                return Ok(());
            }
            tokio::time::sleep(ASK_EVERY).await;
        }
    }
    Ok(())
}

async fn filter(tenure: &Tenure, selection: &Selection) -> anyhow::Result<Filter> {
    let time = |text: &Option<String>, field| {
        let rule = "an RFC 3339 time, for example 2026-01-31T12:00:00Z";
        text.as_deref().map(|text| Timestamp::parse(text).map_err(|_| Invalid { field, rule })).transpose()
    };
    let account = match &selection.account {
        None => None,
        Some(slug) => match slug.parse::<uuid::Uuid>() {
            // An id is not looked up, so that the history of a closed account can be shown.
            Ok(id) => Some(id),
            Err(_) => Some(tenure.reader().account_by_name(slug).await?.id.as_uuid()),
        },
    };
    let stream = selection
        .stream
        .as_deref()
        .map(|text| {
            let rule = "TYPE/ID, for example account/0190…";
            let (stream_type, id) = text.split_once('/').ok_or(Invalid { field: "--stream", rule })?;
            Ok::<_, Invalid>(StreamId { stream_type: stream_type.to_owned().into(), id: id.into() })
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
    let after = match &selection.after {
        Some(after) => place(tenure, after).await?,
        None => 0,
    };
    // Reading fails when the epoch changes, so every printed cursor belongs to this epoch.
    let epoch = tenure.log().seen().get().epoch;
    let pages = tenure.log().read(after, filter);
    pin_mut!(pages);
    while let Some(page) = pages.next().await {
        let page = page?;
        for record in tenure.describe(&page[..page.len().min(left)]).await? {
            print_record(config, record, epoch)?;
        }
        left = left.saturating_sub(page.len());
        if left == 0 {
            break;
        }
    }
    Ok(())
}

async fn tail(tenure: &Tenure, config: &Config, selection: Selection) -> anyhow::Result<()> {
    let filter = filter(tenure, &selection).await?;
    let after = match &selection.after {
        Some(after) => place(tenure, after).await?,
        None => (tenure.log().newest().await? - NEWEST).max(0),
    };
    let mut follower = tenure.log().follow(after);
    let mut left = selection.limit.unwrap_or(usize::MAX);
    while left > 0 {
        match follower.next().await {
            Ok(events) => {
                let wanted: Vec<_> =
                    events.into_iter().filter(|event| filter.matches(event)).take(left).collect();
                left -= wanted.len();
                let epoch = follower.checkpoint().epoch;
                print_patiently(tenure, config, &wanted, epoch).await?;
            }
            Err(error @ ReadError::Unavailable(_)) => {
                tracing::warn!(%error, "waiting for the database");
                tokio::time::sleep(WAIT).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// How long a tail waits before it retries a database or server that is unavailable.
const WAIT: std::time::Duration = std::time::Duration::from_secs(1);

/// Parses a position token and checks that it belongs to the current epoch and is not beyond the newest event.
async fn place(tenure: &Tenure, text: &str) -> anyhow::Result<i64> {
    let rule =
        "must be the `position` of a write or the `cursor` of an event (with --json), not beyond the newest";
    // The start is the same in every epoch.
    if text == START {
        return Ok(0);
    }
    let token = text.parse().map_err(|_| Invalid { field: "--after", rule })?;
    match tenure.log().place(token).await {
        Err(ReadError::BeyondHead { .. }) => Err(Invalid { field: "--after", rule }.into()),
        place => Ok(place?.position),
    }
}

/// Prints events. Retries while the database, which holds the keys of sealed fields, is unavailable.
async fn print_patiently(
    tenure: &Tenure,
    config: &Config,
    events: &[RecordedEvent],
    epoch: i64,
) -> anyhow::Result<()> {
    loop {
        match tenure.describe(events).await {
            Ok(records) => {
                return records.into_iter().try_for_each(|record| print_record(config, record, epoch));
            }
            Err(CodecError::Keys(KeyLoadError::Read(error @ ReadError::Unavailable(_)))) => {
                tracing::warn!(%error, "waiting for the database");
                tokio::time::sleep(WAIT).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

fn print_record(config: &Config, record: EventRecord, epoch: i64) -> anyhow::Result<()> {
    let token = PositionToken { epoch, position: record.position };
    let mut record = serde_json::to_value(record)?;
    if config.json {
        record["cursor"] = token.to_string().into();
        output::json(&record)
    } else {
        output::line(&as_text(&record))
    }
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
