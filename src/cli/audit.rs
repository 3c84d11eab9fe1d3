//! `tenure audit`: compares what is stored with what the log says.

use clap::Subcommand;

use super::replay_progress::Shown;
use super::{lookup, open, output};
use crate::clock::Stopwatch;
use crate::config::Config;
use crate::replay::Differences;

#[derive(Subcommand)]
pub(super) enum AuditCommand {
    /// Compare the live tables with a replay of the log, row by row; exit code 1 if any row differs
    ///
    /// Reads the whole log, changes nothing, and holds a snapshot of the tables while it reads them.
    Diff {
        /// Compare only the rows of this account, by name or ID
        #[arg(long)]
        account: Option<String>,
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
    let AuditCommand::Diff { account } = command;
    let opened = open::open(&config).await?;
    let watch = Stopwatch::start();
    let shown = Shown::new();
    let compared = async {
        let account = match &account {
            Some(account) => Some(lookup::account(&opened.tenure, account).await?.id.as_uuid()),
            None => None,
        };
        Ok::<_, anyhow::Error>(opened.tenure.replay().diff(account, &shown.progress()).await?)
    };
    let compared = compared.await;
    shown.clear();
    // Closed before an error can return, so that a private server is stopped.
    opened.close().await?;
    let diff = compared?;
    let seconds = watch.elapsed().as_secs_f64();
    if config.json {
        let mut value = serde_json::to_value(&diff)?;
        value["differences"] = diff.differences.count.into();
        value["seconds"] = seconds.into();
        value["events_per_second"] = super::replay_progress::rate(diff.events, seconds).into();
        value["peak_memory_bytes"] = super::replay_progress::peak_memory_bytes().into();
        output::json(&value)?;
    } else {
        print_differences(&config, &diff.differences)?;
        output::line(&format!(
            "position {}: {} of {} rows differ from what {} events say, in {seconds:.1} s",
            diff.position, diff.differences.count, diff.differences.rows, diff.events
        ))?;
    }
    let Differences { count, rows, .. } = diff.differences;
    if count > 0 { Err(Differ { count, rows }.into()) } else { Ok(()) }
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
