//! `tenure log`: the log itself.

use clap::Subcommand;
use serde_json::json;

use super::{open, output};
use crate::aggregates::field::Invalid;
use crate::config::Config;

#[derive(Subcommand)]
pub(super) enum LogCommand {
    /// Give positions a new epoch: after a backup was restored, or events were lost in a failover
    ///
    /// Every position and cursor that was given out before is refused from then on, and running nodes clear what they
    /// remember and go on from where the log ends. Events stay as they are.
    NewEpoch {
        /// Do it
        #[arg(long)]
        yes: bool,
    },
}

pub(super) async fn run(config: Config, command: LogCommand) -> anyhow::Result<()> {
    let LogCommand::NewEpoch { yes } = command;
    if !yes {
        let rule = "every position and cursor given out so far will be refused: say --yes";
        return Err(Invalid { field: "--yes", rule }.into());
    }
    let newest = open::new_epoch(&config).await?;
    if config.json {
        return output::json(&json!({"log_id": newest.log_id, "position": newest.to_string()}));
    }
    output::line(&format!("log {}: positions have a new epoch; the newest is {newest}", newest.log_id))
}
