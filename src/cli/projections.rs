//! `tenure projections`: the tables that queries read.

use clap::Subcommand;
use serde_json::json;

use super::replay_progress::Shown;
use super::{open, output};
use crate::aggregates::field::Invalid;
use crate::clock::Stopwatch;
use crate::config::Config;
use crate::engine::OpenError;
use crate::postgres::migrate::Replacing;
use crate::projections::TABLES;
use crate::replay::{Coverage, RebuildError, RebuildOptions, Rebuilt, Verification};

#[derive(Subcommand)]
pub(super) enum ProjectionsCommand {
    /// List the tables of this release, with their versions
    List,
    /// Rebuild tables from the log while nodes read and write them, and swap them in
    ///
    /// The live tables are compared with the log first. A difference stops the rebuild, exit code 6, because it is evidence
    /// that somebody may want to look at. Whatever ends a rebuild early, the live tables are untouched.
    Rebuild {
        /// The tables to rebuild; all if none is named
        tables: Vec<String>,
        /// Replace the tables even though they differ from what the log says
        #[arg(long)]
        accept_differences: bool,
    },
}

pub(super) async fn run(config: Config, command: ProjectionsCommand) -> anyhow::Result<()> {
    match command {
        ProjectionsCommand::List => {
            let tables: Vec<_> =
                TABLES.iter().map(|table| json!({"name": table.name, "version": table.version})).collect();
            output::list(config.json, "projections", &["name", "version"], &tables)
        }
        ProjectionsCommand::Rebuild { tables, accept_differences } => {
            let mut chosen = Vec::new();
            for name in &tables {
                let known = TABLES.iter().find(|table| table.name == name);
                let Some(table) = known.copied() else {
                    let rule = "unknown; `tenure projections list` shows the tables";
                    return Err(Invalid { field: "table", rule }.into());
                };
                if !chosen.iter().any(|other: &&crate::event_log::rows::Table| other.name == table.name) {
                    chosen.push(table);
                }
            }
            let verification = if accept_differences { Verification::Report } else { Verification::Strict };
            let swap_wait = config.swap_wait;
            let options =
                RebuildOptions { tables: chosen, verification, swap_wait, ..RebuildOptions::default() };
            rebuild(config, options).await
        }
    }
}

async fn rebuild(mut config: Config, options: RebuildOptions) -> anyhow::Result<()> {
    // Projections of a newer release are replaced when the engine opens: that is how to go back to this one.
    config.replacing = Replacing::Always;
    config.verification = options.verification;
    let watch = Stopwatch::start();
    let opened = match open::open(&config).await {
        Ok(opened) => opened,
        Err(error) => {
            if let Some(OpenError::Rebuild(error)) = error.downcast_ref() {
                output::unless_reader_gone(print_refused(&config, error, watch.elapsed().as_secs_f64()))?;
            }
            return Err(error);
        }
    };
    if let Some(rebuilt) = opened.tenure.rebuilt_at_start() {
        let reported = report(&config, rebuilt, watch.elapsed().as_secs_f64());
        opened.close().await?;
        return reported;
    }
    let watch = Stopwatch::start();
    let shown = Shown::new();
    let (replay, progress) = (opened.tenure.replay(), shown.progress());
    // Dropping the future on Ctrl-C closes the connections; the next rebuild or a node drops what is left.
    let ended = tokio::select! {
        ended = replay.rebuild(&options, &progress) => ended,
        _ = tokio::signal::ctrl_c() => {
            shown.clear();
            opened.close().await?;
            anyhow::ensure!(
                !shown.is_swapping(),
                "interrupted during the swap: the tables are whole, either those before it or the fresh ones"
            );
            anyhow::bail!("interrupted; the live tables are untouched");
        }
    };
    shown.clear();
    let result = match ended {
        Ok(rebuilt) => report(&config, &rebuilt, watch.elapsed().as_secs_f64()),
        Err(error) => {
            output::unless_reader_gone(print_refused(&config, &error, watch.elapsed().as_secs_f64()))?;
            Err(error.into())
        }
    };
    opened.close().await?;
    result
}

/// Prints the differences that stopped a rebuild.
fn print_refused(config: &Config, error: &RebuildError, seconds: f64) -> anyhow::Result<()> {
    let RebuildError::Differs { differences, events } = error else { return Ok(()) };
    if config.json {
        let mut value = serde_json::to_value(differences)?;
        value["diff_rows"] = differences.count.into();
        value["events"] = (*events).into();
        value["seconds"] = seconds.into();
        value["events_per_second"] = super::replay_progress::rate(*events, seconds).into();
        value["peak_memory_bytes"] = super::replay_progress::peak_memory_bytes().into();
        return output::json(&value);
    }
    super::audit::print_differences(config, differences)
}

fn report(config: &Config, rebuilt: &Rebuilt, seconds: f64) -> anyhow::Result<()> {
    let rate = super::replay_progress::rate(rebuilt.events, seconds);
    if config.json {
        let mut value = serde_json::to_value(rebuilt)?;
        value["seconds"] = seconds.into();
        value["events_per_second"] = rate.into();
        value["diff_rows"] = rebuilt.differences.count.into();
        value["peak_memory_bytes"] = super::replay_progress::peak_memory_bytes().into();
        return output::json(&value);
    }
    super::audit::print_differences(config, &rebuilt.differences)?;
    let Coverage { compared_in_part, not_compared } = &rebuilt.coverage;
    for (table, columns) in compared_in_part {
        output::line(&format!("{table} was of an earlier version, compared in {}", columns.join(", ")))?;
    }
    if !not_compared.is_empty() {
        output::line(&format!("not compared with tables of another release: {}", not_compared.join(", ")))?;
    }
    for holder in &rebuilt.not_waited_for {
        output::line(&format!(
            "not waited for any longer: {holder}; if it is a dump, its copy will be rebuilt when it is restored"
        ))?;
    }
    output::line(&format!(
        "{} tables rebuilt up to position {}: {} events, {} rows in {seconds:.1} s ({rate} events/s); {} of {} rows differed; \
         appends waited {:.0} ms for the swap",
        rebuilt.tables.len(),
        rebuilt.position,
        rebuilt.events,
        rebuilt.rows,
        rebuilt.differences.count,
        rebuilt.differences.rows,
        rebuilt.swap_seconds * 1_000.0,
    ))
}
