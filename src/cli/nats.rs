//! `tenure nats`: the operator of NATS, and the state of accounts and streams there.

use std::path::PathBuf;

use clap::Subcommand;
use serde_json::json;

use super::{open, output};
use crate::aggregates::field::Invalid;
use crate::config::Config;
use crate::nats::{Nats, ServerFiles, bootstrap, private};

/// NATS was looked at, cannot be used, and the report has said why.
#[derive(Debug, thiserror::Error)]
#[error("NATS cannot be used")]
pub(super) struct NatsUnusable;

#[derive(Subcommand)]
pub(super) enum NatsCommand {
    /// Make the operator of this log's accounts, and write the configuration of nats-server
    ///
    /// The operator's signing key is stored in the log, wrapped by the master key. Its identity seed is written to the directory
    /// and stored nowhere else: keep it offline. Run again, it writes the same configuration.
    Bootstrap {
        /// The directory for the configuration
        #[arg(long, value_name = "DIR", default_value = "nats")]
        dir: PathBuf,
        /// The host and port that the server listens on
        #[arg(long, value_name = "HOST:PORT", default_value = "0.0.0.0:4222")]
        listen: String,
        /// Replace the operator; accounts keep their keys, streams and messages
        #[arg(long)]
        rotate: bool,
    },
    /// Compare accounts and streams with what the servers have
    Status,
}

pub(super) async fn run(config: Config, command: NatsCommand) -> anyhow::Result<()> {
    let opened = open::open(&config).await?;
    let result = match command {
        NatsCommand::Bootstrap { dir, listen, rotate } => {
            write_configuration(&config, &opened.tenure, dir, listen, rotate).await
        }
        NatsCommand::Status => show_status(&config, &opened.tenure).await,
    };
    opened.close().await?;
    result
}

async fn write_configuration(
    config: &Config,
    tenure: &crate::Tenure,
    dir: PathBuf,
    listen: String,
    rotate: bool,
) -> anyhow::Result<()> {
    let plain = |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || ".-:[]*_".contains(c));
    if listen.rsplit_once(':').is_none_or(|(_, port)| port.parse::<u16>().is_err()) || !plain(&listen) {
        return Err(Invalid { field: "--listen", rule: "a host and a port, for example 0.0.0.0:4222" }.into());
    }
    let files = ServerFiles { dir: std::path::absolute(dir)?, listen, is_alone: false };
    let made = bootstrap(tenure, &files, rotate).await?;
    let identity = made.has_identity.then(|| files.identity());
    if config.json {
        return output::json(&json!({
            "operator": made.operator, "system_account": made.system_account, "config": files.config(),
            "identity_seed": identity,
        }));
    }
    let mut lines = vec![
        format!("operator        {}", made.operator),
        format!("system account  {}", made.system_account),
        format!("configuration   {}", files.config().display()),
    ];
    if let Some(identity) = identity {
        lines.push(format!("identity seed   {} (move it to a place that is offline)", identity.display()));
    }
    lines.push(format!("\nStart a server with it:  nats-server -c {}", files.config().display()));
    lines.push("and set NATS_URL for `tenure serve`.".to_owned());
    output::line(&lines.join("\n"))
}

async fn show_status(config: &Config, tenure: &crate::Tenure) -> anyhow::Result<()> {
    let url = config.nats.url.clone().or_else(|| private::running(&config.data_dir));
    let Some(url) = url else {
        anyhow::bail!("no NATS: set NATS_URL, or run `tenure serve` with its private one");
    };
    let nats = Nats::look(tenure.clone(), config.nats.settings(&url));
    let status = nats.status().await;
    nats.close().await;
    let status = status?;
    if config.json {
        output::json(&json!(status))?;
    } else {
        let mut lines = vec![match &status.reason {
            None => format!("NATS at {url} can be used"),
            Some(reason) => format!("NATS at {url} cannot be used: {reason}"),
        }];
        for server in &status.servers {
            lines.push(format!("server    {} {}", server.name, server.version));
        }
        lines.push(format!(
            "accounts  {} ({} missing, {} that are not of this log)",
            status.accounts, status.accounts_missing, status.accounts_unknown
        ));
        for failure in &status.failures {
            lines.push(format!("  {}: {}", failure.account_id, failure.reason));
        }
        lines.push(format!(
            "streams   {} ({} not as they should be, {} orphans)",
            status.streams,
            status.drift.len(),
            status.orphans.len()
        ));
        for stream in status.drift.iter().chain(&status.orphans) {
            lines.push(format!("  {} in {}: {}", stream.stream, stream.account_id, stream.reason));
        }
        output::line(&lines.join("\n"))?;
    }
    if status.usable { Ok(()) } else { Err(NatsUnusable.into()) }
}
