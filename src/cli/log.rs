//! `tenure log`: maintenance of the event log.

use clap::Subcommand;
use serde_json::json;

use super::{open, output};
use crate::aggregates::field::Invalid;
use crate::config::Config;

#[derive(Subcommand)]
pub(super) enum LogCommand {
    /// Give positions a new epoch, after a backup was restored or events were lost in a failover
    ///
    /// All earlier positions and cursors are then refused. Running nodes clear their in-memory state and continue from
    /// the end of the log. Events do not change.
    NewEpoch {
        /// Confirm that earlier positions will be refused; required
        #[arg(long)]
        yes: bool,
    },
}

pub(super) async fn run(config: Config, command: LogCommand) -> anyhow::Result<()> {
    let LogCommand::NewEpoch { yes } = command;
    if !yes {
        let rule = "required; all earlier positions and cursors will be refused";
        return Err(Invalid { field: "--yes", rule }.into());
    }
    let newest = open::new_epoch(&config).await?;
    if config.json {
        return output::json(&json!({"log_id": newest.log_id, "position": newest.to_string()}));
    }
    output::line(&format!("log {}: new epoch; the newest position is {newest}", newest.log_id))
}
