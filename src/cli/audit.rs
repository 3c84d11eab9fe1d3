//! `tenure audit`: what is stored, compared with what the log says; the tables as they were; why things are so.

use std::time::Duration;

use clap::Subcommand;
use secrecy::ExposeSecret as _;
use serde_json::json;
use uuid::Uuid;

use super::open::Opened;
use super::replay_progress::{Shown, peak_memory_bytes, rate};
use super::{explain, lookup, open, output};
use crate::clock::Stopwatch;
use crate::config::Config;
use crate::config::duration::duration;
use crate::operations::Resource;
use crate::replay::{AsOfOptions, Changes, Diff, Differences, Moment};
use crate::verify_forgotten::ForgottenReport;

#[derive(Subcommand)]
pub(super) enum AuditCommand {
    /// Compare the live tables with a replay of the log, row by row; exit code 1 if any row differs
    ///
    /// Reads the whole log, changes nothing, and holds a snapshot of the tables while it reads them. With `--from`, compares the
    /// tables as they were then with the tables as they were at `--to`, or are now: what changed between Friday and Monday.
    Diff {
        /// Compare only the rows of this account, by name or ID
        #[arg(long)]
        account: Option<String>,
        /// Show what changed since this time or position, for example 2026-01-30T18:00:00+01:00
        #[arg(long, value_name = "T")]
        from: Option<Moment>,
        /// Show what changed up to this time or position; up to now if not given
        #[arg(long, value_name = "T", requires = "from")]
        to: Option<Moment>,
    },
    /// Make the tables as they were at a time or a position, in a schema of their own
    ///
    /// The schema has the tables of schema `view`, without what is not in the log, and a table `as_of` that says when. Only the owner
    /// of the log may read it. What was forgotten is blank. The schema is dropped when it expires, and soon after somebody in it is
    /// forgotten or an account in it is closed.
    AsOf {
        /// A time with an offset, for example 2026-01-31T12:00:00Z, or a position
        #[arg(value_name = "T")]
        moment: Moment,
        /// The name of the schema to make
        #[arg(long)]
        schema: String,
        /// Only the rows of this account, by name or ID, and of the people in it
        #[arg(long)]
        account: Option<String>,
        /// How long to keep the schema, for example 2h; at most 30d
        #[arg(long, value_parser = duration, default_value = "24h")]
        keep: Duration,
    },
    /// Tell the story of one thing: what happened, who did it with which credential, on whose behalf, and because of what
    ///
    /// With `event`, tell what caused an event, and what it caused. With --json, one line for each event.
    Explain(explain::Question),
    /// Show that nothing is left of a forgotten person; exit code 1 if something is
    ///
    /// Searches the keys, the log, the tables, the snapshots, the rows outside the log, the tables as they were, and the list outside
    /// the database.
    VerifyForgotten {
        /// The ID of the forgotten user
        user: String,
        /// Also search every table for the texts on standard input, one on each line: the former name and address, which nothing
        /// has kept
        #[arg(long)]
        search_stdin: bool,
    },
    /// List the schemas that `as-of` has made, and why those that are gone were dropped
    Schemas,
    /// Drop a schema that `as-of` has made
    DropSchema {
        /// The name of the schema
        schema: String,
    },
}

/// Some rows differ from what the log says.
#[derive(Debug, thiserror::Error)]
#[error("{count} of {rows} rows differ from what the log says")]
struct Differ {
    count: u64,
    rows: u64,
}

pub(super) async fn run(config: Config, command: AuditCommand) -> anyhow::Result<()> {
    let opened = open::open(&config).await?;
    let shown = Shown::new();
    let done = carry_out(&config, &opened, &shown, command).await;
    shown.clear();
    // Closed before an error can return, so that a private server is stopped.
    opened.close().await?;
    done
}

async fn carry_out(
    config: &Config,
    opened: &Opened,
    shown: &Shown,
    command: AuditCommand,
) -> anyhow::Result<()> {
    match command {
        AuditCommand::Diff { account, from: None, .. } => diff(config, opened, shown, account).await,
        AuditCommand::Diff { account, from: Some(from), to } => {
            changes(config, opened, shown, account, (from, to)).await
        }
        AuditCommand::AsOf { moment, schema, account, keep } => {
            let account = id_of(opened, account).await?;
            as_of(config, opened, shown, AsOfOptions { moment, schema, account, keep }).await
        }
        AuditCommand::Explain(question) => explain::run(&opened.tenure, config.json, question).await,
        AuditCommand::VerifyForgotten { user, search_stdin } => {
            verify_forgotten(config, opened, shown, &user, search_stdin).await
        }
        AuditCommand::Schemas => schemas(config, opened).await,
        AuditCommand::DropSchema { schema } => {
            opened.tenure.replay().drop_as_of_schema(&schema).await?;
            if config.json {
                return output::json(&json!({"schema": schema, "dropped": true}));
            }
            output::line(&format!("{schema}: dropped"))
        }
    }
}

async fn id_of(opened: &Opened, account: Option<String>) -> anyhow::Result<Option<Uuid>> {
    let Some(account) = account else { return Ok(None) };
    // A closed account has no name, but a past.
    if let Ok(id) = account.parse::<Uuid>()
        && opened.tenure.account_of_stream("account", id).await?.is_some()
    {
        return Ok(Some(id));
    }
    Ok(Some(lookup::account(&opened.tenure, &account).await?.id.as_uuid()))
}

async fn diff(
    config: &Config,
    opened: &Opened,
    shown: &Shown,
    account: Option<String>,
) -> anyhow::Result<()> {
    let watch = Stopwatch::start();
    let account = id_of(opened, account).await?;
    let diff = opened.tenure.replay().diff(account, &shown.progress()).await?;
    shown.clear();
    // The exit code says what was found, also if nobody reads on.
    output::unless_reader_gone(print_diff(config, &diff, watch.elapsed().as_secs_f64()))?;
    let Differences { count, rows, .. } = diff.differences;
    if count > 0 { Err(Differ { count, rows }.into()) } else { Ok(()) }
}

fn print_diff(config: &Config, diff: &Diff, seconds: f64) -> anyhow::Result<()> {
    if config.json {
        let mut value = serde_json::to_value(diff)?;
        value["differences"] = diff.differences.count.into();
        value["seconds"] = seconds.into();
        value["events_per_second"] = rate(diff.events, seconds).into();
        value["peak_memory_bytes"] = peak_memory_bytes().into();
        return output::json(&value);
    }
    print_differences(config, &diff.differences)?;
    output::line(&format!(
        "position {}: {} of {} rows differ from what {} events say, in {seconds:.1} s",
        diff.position, diff.differences.count, diff.differences.rows, diff.events
    ))
}

async fn changes(
    config: &Config,
    opened: &Opened,
    shown: &Shown,
    account: Option<String>,
    (from, to): (Moment, Option<Moment>),
) -> anyhow::Result<()> {
    let watch = Stopwatch::start();
    let account = id_of(opened, account).await?;
    let replay = opened.tenure.replay();
    let from = replay.resolve(from).await?;
    // The newest position, not the present time: the clock of the node that wrote it may be ahead of this one.
    let to = match to {
        Some(to) => to,
        None => Moment::Position(opened.tenure.log().newest().await?),
    };
    let to = replay.resolve(to).await?;
    if from.position > to.position {
        return Err(
            crate::aggregates::field::Invalid { field: "to", rule: "must not be before `from`" }.into()
        );
    }
    let found = replay.changes((from, to), account, &shown.progress()).await?;
    shown.clear();
    let seconds = watch.elapsed().as_secs_f64();
    if config.json {
        let mut value = serde_json::to_value(&found)?;
        value["seconds"] = seconds.into();
        value["events_per_second"] = rate(found.events, seconds).into();
        value["peak_memory_bytes"] = peak_memory_bytes().into();
        return output::json(&value);
    }
    let Changes { events, count, changes, .. } = found;
    for change in &changes {
        output::line(&change.to_string())?;
    }
    let named = changes.len() as u64;
    if count > named {
        output::line(&format!("… and {} more", count - named))?;
    }
    output::line(&format!(
        "{count} rows changed between position {} and {}: {events} events in {seconds:.1} s ({} events/s)",
        from.position,
        to.position,
        rate(events, seconds)
    ))
}

async fn as_of(config: &Config, opened: &Opened, shown: &Shown, options: AsOfOptions) -> anyhow::Result<()> {
    let watch = Stopwatch::start();
    let (replay, progress) = (opened.tenure.replay(), shown.progress());
    // Dropping the future on Ctrl-C closes the connections; a node or the next `as-of` drops what is left.
    let made = tokio::select! {
        made = replay.as_of(&options, &progress) => made?,
        _ = tokio::signal::ctrl_c() => anyhow::bail!(
            "interrupted; what was made so far is dropped within a minute by a node that runs, and else by the next one that starts"
        ),
    };
    shown.clear();
    let seconds = watch.elapsed().as_secs_f64();
    if config.json {
        let mut value = serde_json::to_value(&made)?;
        value["seconds"] = seconds.into();
        value["events_per_second"] = rate(made.events, seconds).into();
        value["peak_memory_bytes"] = peak_memory_bytes().into();
        return output::json(&value);
    }
    output::line(&format!(
        "{}: the tables as of position {} ({}), {} rows from {} events in {seconds:.1} s ({} events/s)",
        made.schema,
        made.moment.position,
        made.moment.at,
        made.rows,
        made.events,
        rate(made.events, seconds)
    ))?;
    output::line(&format!(
        "dropped at {}, or soon after somebody in it is forgotten or an account in it is closed",
        made.expires_at
    ))
}

/// Something is left of a forgotten person.
#[derive(Debug, thiserror::Error)]
#[error("something is left of the person; see above")]
struct NotForgotten;

async fn verify_forgotten(
    config: &Config,
    opened: &Opened,
    shown: &Shown,
    user: &str,
    search_stdin: bool,
) -> anyhow::Result<()> {
    let user = lookup::id(user, Resource::User)?;
    let texts = if search_stdin { output::secret_from_stdin()? } else { String::new().into() };
    let lines = texts.expose_secret().lines().map(str::trim).filter(|line| !line.is_empty());
    let texts: Vec<String> = lines.map(str::to_owned).collect();
    if search_stdin && texts.is_empty() {
        return Err(crate::verify_forgotten::VerifyForgottenError::Texts.into());
    }
    let report = opened
        .tenure
        .verify_forgotten(user, &texts, &|table| shown.say(&format!("searching {table}")))
        .await?;
    shown.clear();
    output::unless_reader_gone(print_report(config, &report))?;
    if report.is_clean() { Ok(()) } else { Err(NotForgotten.into()) }
}

fn print_report(config: &Config, report: &ForgottenReport) -> anyhow::Result<()> {
    if config.json {
        let mut value = serde_json::to_value(report)?;
        value["is_clean"] = report.is_clean().into();
        return output::json(&value);
    }
    for searched in &report.searched {
        let (sign, found) = match searched.found {
            _ if searched.is_denied => {
                ('✗', "not searched: it may not be read, or is not as Tenure has made it".to_owned())
            }
            0 => ('✓', "0".to_owned()),
            found => ('✗', found.to_string()),
        };
        output::line(&format!("{sign} {}: {}: {found}", searched.place, searched.looked_for))?;
    }
    let verdict = if report.searched.iter().any(|searched| searched.found > 0) {
        "something is left"
    } else if report.is_clean() {
        "nothing is left"
    } else {
        "nothing was found where the search was allowed"
    };
    output::line(&format!("{}: forgotten at {}, {verdict}", report.user, report.forgotten_at))?;
    if report.is_being_cleared {
        output::line(
            "rows of the person are still being cleared away; no query shows them; look again in a minute",
        )?;
    }
    Ok(())
}

async fn schemas(config: &Config, opened: &Opened) -> anyhow::Result<()> {
    let schemas = opened.tenure.replay().as_of_schemas().await?;
    let records: Vec<_> = schemas.iter().map(serde_json::to_value).collect::<Result<_, _>>()?;
    let columns =
        ["schema", "position", "at", "account", "made_at", "expires_at", "ended_at", "ends_because"];
    output::list(config.json, "schemas", &columns, &records)
}

/// Prints the rows that differ: as lines, or as one JSON object.
pub(super) fn print_differences(config: &Config, differences: &Differences) -> anyhow::Result<()> {
    if differences.count == 0 {
        return Ok(());
    }
    if config.json {
        return output::json(&serde_json::to_value(differences)?);
    }
    for difference in &differences.first {
        output::line(&difference.to_string())?;
    }
    let named = differences.first.len() as u64;
    if differences.count > named {
        output::line(&format!("… and {} more", differences.count - named))?;
    }
    Ok(())
}
