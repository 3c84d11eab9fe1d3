//! Opens the database of a command: the configured one, a running private one, or a private one started for it.

use std::sync::Arc;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::clock::SystemClock;
use crate::config::Config;
use crate::entropy::OsEntropy;
use crate::event_log::Checkpoint;
use crate::postgres::Address;
use crate::postgres::migrate::Replacing;
use crate::postgres::private::{self, Endpoint, PrivatePostgres};
use crate::{Settings, Tenure};

/// An engine for one command, and the private server if one was started for it.
pub(super) struct Opened {
    pub(super) tenure: Tenure,
    private: Option<PrivatePostgres>,
}

impl Opened {
    /// Closes the engine and stops the private server. Callers do this after an error too, so that the server is gone
    /// when the command ends.
    pub(super) async fn close(self) -> anyhow::Result<()> {
        // The engine first: it stores what it has accepted, which needs the server.
        self.tenure.close().await;
        if let Some(private) = self.private {
            private.stop().await?;
        }
        Ok(())
    }
}

/// The connection address of a private server's socket.
pub(super) fn address(endpoint: &Endpoint) -> Address {
    Address::socket(&endpoint.socket_dir, endpoint.user, endpoint.database)
}

/// The options of a private server in the data directory.
pub(super) fn private_options(config: &Config) -> private::Options {
    private::Options { data_dir: config.data_dir.clone(), bin_dir: config.postgres_bin.clone() }
}

/// Opens the engine of a node that serves.
pub(super) async fn node(config: &Config, address: Address) -> anyhow::Result<Tenure> {
    engine(config, address, Replacing::Earlier, config.audit_every).await
}

/// Opens the engine of a command.
async fn for_command(config: &Config, address: Address) -> anyhow::Result<Tenure> {
    engine(config, address, config.replacing, None).await
}

/// Opens the engine on a database; shows a progress bar while projections are rebuilt.
async fn engine(
    config: &Config,
    address: Address,
    replacing: Replacing,
    audit_every: Option<Duration>,
) -> anyhow::Result<Tenure> {
    let bar = ProgressBar::new(0);
    bar.set_style(ProgressStyle::with_template(
        "rebuilding the projections {bar:30} {human_pos}/{human_len} events  {per_sec}  {eta} left",
    )?);
    let shown = bar.clone();
    let settings = Settings {
        progress: Some(Arc::new(move |done, all| {
            shown.set_length(all);
            shown.set_position(done);
        })),
        connections: config.connections,
        clear_every: config.clear_every,
        swap_wait: config.swap_wait,
        drain_timeout: config.drain_timeout,
        replacing,
        audit_every,
        verification: config.verification,
        forgotten_list: Some(config.forgotten_list.clone()),
        rules: config.rules.clone(),
        ..Settings::new(address, config.master_key.clone())
    };
    let opened = Tenure::open(settings, Arc::new(SystemClock), Arc::new(OsEntropy::default())).await;
    bar.finish_and_clear();
    Ok(opened?)
}

/// Gives the log a new epoch. Needs neither the master key nor this release's projections, because a restored log may
/// lack both.
pub(super) async fn new_epoch(config: &Config) -> anyhow::Result<Checkpoint> {
    let on = async |address: Address| -> anyhow::Result<Checkpoint> {
        Ok(crate::engine::new_epoch(&address, &OsEntropy::default()).await?)
    };
    if let Some(address) = &config.database {
        return on(address.clone()).await;
    }
    if let Some(endpoint) = private::running(&config.data_dir)? {
        return on(address(&endpoint)).await;
    }
    let private = PrivatePostgres::start(private_options(config)).await?;
    let renewed = on(address(private.endpoint())).await;
    // Stopped before the result is returned, so that an error leaves no server running.
    private.stop().await?;
    renewed
}

/// There is nothing to work on.
#[derive(Debug, thiserror::Error)]
#[error("there is no database in {0} yet; name the one that is meant with --database-url or --data-dir")]
pub(super) struct NoDatabase(String);

/// Refuses to make a database for a command that only makes sense on one that exists.
pub(super) fn require_a_database(config: &Config) -> anyhow::Result<()> {
    if config.database.is_some() || private::exists(&config.data_dir)? {
        return Ok(());
    }
    Err(NoDatabase(config.data_dir.display().to_string()).into())
}

/// Opens the engine for a command; starts a private server if no database is configured and none is running.
pub(super) async fn open(config: &Config) -> anyhow::Result<Opened> {
    if let Some(address) = &config.database {
        return Ok(Opened { tenure: for_command(config, address.clone()).await?, private: None });
    }
    // One process owns a data directory, so a running server is shared, never started twice.
    if let Some(endpoint) = private::running(&config.data_dir)? {
        return Ok(Opened { tenure: for_command(config, address(&endpoint)).await?, private: None });
    }
    let private = PrivatePostgres::start(private_options(config)).await?;
    match for_command(config, address(private.endpoint())).await {
        Ok(tenure) => Ok(Opened { tenure, private: Some(private) }),
        Err(error) => {
            // Gone before the error is told, which says more than one of the stop.
            let _ = private.stop().await;
            Err(error)
        }
    }
}
