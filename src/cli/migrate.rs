//! `tenure migrate`: migrates the database to this release and exits.

use serde_json::json;

use super::{open, output};
use crate::config::Config;
use crate::postgres::migrate::{self, Replacing};

pub(super) async fn run(mut config: Config) -> anyhow::Result<()> {
    config.replacing = Replacing::Earlier;
    // Opening the engine migrates; the rest only reports.
    let opened = open::open(&config).await?;
    let log = opened.tenure.log();
    let (position, log_id) = (log.seen().checkpoint(), log.log_id());
    let version = migrate::newest_version();
    if config.json {
        output::json(
            &json!({"schema_version": version, "log_id": log_id, "position": position.to_string()}),
        )?;
    } else {
        output::line(&format!(
            "schema version {version}, log {log_id}, newest position {}",
            position.position
        ))?;
    }
    opened.close().await
}
