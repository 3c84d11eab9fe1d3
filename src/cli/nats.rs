//! `tenure nats`: the operator of NATS, and the state of accounts, streams and the relay there.

use std::path::PathBuf;

use clap::Subcommand;
use serde_json::json;

use super::{nats_users, open, output};
use crate::aggregates::field::Invalid;
use crate::config::Config;
use crate::nats::{Nats, RelayFrom, RelayRepair, RelayStatus, ServerFiles, bootstrap, private};

/// NATS was looked at, it cannot be used or the relay has stopped, and the report has said why.
#[derive(Debug, thiserror::Error)]
#[error("NATS cannot be used, or the relay has stopped")]
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
    /// Compare accounts and streams with what the servers have, and show how far the relay has come
    Status,
    /// Issue a credential for the log's events at NATS, as a file that clients of NATS read
    User(nats_users::NewUser),
    /// List the credentials that were issued
    Users,
    /// Revoke a credential
    RevokeUser {
        /// The public key of the credential, `U…`
        public_key: String,
        /// Who does this; it is recorded [default: the name of the user who runs the command]
        #[arg(long, value_name = "NAME")]
        by: Option<String>,
    },
    /// Say from where the relay's stream begins, after it has stopped, or to carry earlier events too
    ///
    /// It has an effect only if the present stream is gone, cannot go on, or begins later: then another one is made in its place.
    Relay {
        /// After the newest event, or at a position
        #[arg(long, value_name = "head|POSITION")]
        from: RelayFrom,
    },
}

pub(super) async fn run(config: Config, command: NatsCommand) -> anyhow::Result<()> {
    let opened = open::open(&config).await?;
    let result = match command {
        NatsCommand::Bootstrap { dir, listen, rotate } => {
            write_configuration(&config, &opened.tenure, dir, listen, rotate).await
        }
        NatsCommand::Status => show_status(&config, &opened.tenure).await,
        NatsCommand::User(wanted) => nats_users::issue(&config, &opened.tenure, wanted).await,
        NatsCommand::Users => nats_users::list(&config, &opened.tenure).await,
        NatsCommand::RevokeUser { public_key, by } => {
            nats_users::revoke(&config, &opened.tenure, &public_key, by).await
        }
        NatsCommand::Relay { from } => tell_relay(&config, &opened.tenure, from).await,
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

async fn tell_relay(config: &Config, tenure: &crate::Tenure, from: RelayFrom) -> anyhow::Result<()> {
    crate::nats::tell_relay(tenure, from).await?;
    if config.json {
        return output::json(&json!({"from": from.to_string()}));
    }
    output::line("stored; the node that relays looks at it within two seconds: `tenure nats status`")
}

/// What to say of the relay.
fn relay_lines(relay: &RelayStatus, usable: bool) -> Vec<String> {
    let mut lines = Vec::new();
    let place = match (relay.tail, relay.lag) {
        (Some(tail), Some(0)) => format!("position {tail}, all of the log"),
        (Some(tail), Some(lag)) => {
            let seconds = relay.lag_seconds.unwrap_or_default();
            format!("position {tail} of {}, {lag} behind, the oldest since {seconds:.1} s", relay.head)
        }
        _ if !usable => format!("cannot be asked; the log has position {}", relay.head),
        _ => format!("not there; the log has position {}", relay.head),
    };
    lines.push(format!("relay     {}: {place}", relay.stream));
    if relay.node.is_none() {
        lines.push("  no node relays at the moment".to_owned());
    }
    if let Some(reason) = relay.stopped.as_ref().or(relay.failure.as_ref()) {
        lines.push(format!("  {reason}"));
    }
    if let Some(repair) = relay.last_repair {
        let RelayRepair { from, to, at, made_anew } = repair;
        lines.push(if made_anew {
            format!("  last repair {at}: events within the stream were lost; made anew from {from} to {to}")
        } else {
            format!("  last repair {at}: JetStream had lost positions {from} to {to}")
        });
    }
    lines
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
        lines.extend(relay_lines(&status.relay, status.usable));
        output::line(&lines.join("\n"))?;
    }
    if status.usable && status.relay.stopped.is_none() { Ok(()) } else { Err(NatsUnusable.into()) }
}
