//! `tenure bench`: generates data for benchmarks.

use clap::Subcommand;
use serde_json::json;

use super::{open, output};
use crate::clock::Stopwatch;
use crate::config::Config;
use crate::seed;

#[derive(Subcommand)]
pub(super) enum BenchCommand {
    /// Fill the log with generated users and accounts, by COPY
    Seed {
        /// The minimum number of events to add
        #[arg(long)]
        events: u64,
        /// The seed of the random generator, an integer
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
}

pub(super) async fn run(config: Config, command: BenchCommand) -> anyhow::Result<()> {
    let BenchCommand::Seed { events, seed } = command;
    let opened = open::open(&config).await?;
    let watch = Stopwatch::start();
    let bar = indicatif::ProgressBar::new(events);
    bar.set_style(indicatif::ProgressStyle::with_template(
        "{bar:40} {human_pos}/{human_len} events  {per_sec}  {eta} left",
    )?);
    let result = seed::generate(&opened.tenure, events, seed, |done| bar.set_position(done)).await;
    // Cleared before an error can return, so that the bar does not stay on the terminal.
    bar.finish_and_clear();
    let seeded = match result {
        Ok(seeded) => seeded,
        Err(error) => {
            opened.close().await?;
            return Err(error.into());
        }
    };
    let seconds = watch.elapsed().as_secs_f64();
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let rate = (seeded.events as f64 / seconds).round() as u64;
    if config.json {
        output::json(&json!({
            "events": seeded.events, "users": seeded.users, "accounts": seeded.accounts, "position": seeded.position,
            "seconds": seconds, "events_per_second": rate,
        }))?;
    } else {
        output::line(&format!(
            "{} events ({} users, {} accounts) in {seconds:.1} s: {rate} events/s, newest position {}",
            seeded.events, seeded.users, seeded.accounts, seeded.position
        ))?;
    }
    opened.close().await
}
