//! Finding the database of a command: the one that is named, a private one that is being served, or a private one
//! started for as long as the command runs.

use std::sync::Arc;

use indicatif::{ProgressBar, ProgressStyle};

use crate::clock::SystemClock;
use crate::config::Config;
use crate::entropy::OsEntropy;
use crate::event_log::Checkpoint;
use crate::postgres::Address;
use crate::postgres::private::{self, Endpoint, PrivatePostgres};
use crate::{Settings, Tenure};

/// An engine for one command, and the server that was started for it.
pub(super) struct Opened {
    pub(super) tenure: Tenure,
    private: Option<PrivatePostgres>,
}

impl Opened {
    pub(super) async fn close(self) -> anyhow::Result<()> {
        self.tenure.close().await;
        if let Some(private) = self.private {
            private.stop().await?;
        }
        Ok(())
    }
}

/// The address of a private server.
pub(super) fn address(endpoint: &Endpoint) -> Address {
    Address::socket(&endpoint.socket_dir, endpoint.user, endpoint.database)
}

/// Starts a private server in the data directory.
pub(super) async fn start_private(config: &Config) -> anyhow::Result<PrivatePostgres> {
    let options =
        private::Options { data_dir: config.data_dir.clone(), bin_dir: config.postgres_bin.clone() };
    Ok(PrivatePostgres::start(options).await?)
}

/// Opens the engine on an address.
pub(super) async fn engine(config: &Config, address: Address) -> anyhow::Result<Tenure> {
    let bar = ProgressBar::new(0);
    bar.set_style(ProgressStyle::with_template(
        "replacing the projections {bar:30} {human_pos}/{human_len} events  {per_sec}  {eta} left",
    )?);
    let shown = bar.clone();
    let settings = Settings {
        progress: Some(Arc::new(move |done, all| {
            shown.set_length(all);
            shown.set_position(done);
        })),
        connections: config.connections,
        forgotten_list: Some(config.forgotten_list.clone()),
        rules: config.rules.clone(),
        ..Settings::new(address, config.master_key.clone())
    };
    let opened = Tenure::open(settings, Arc::new(SystemClock), Arc::new(OsEntropy::default())).await;
    bar.finish_and_clear();
    Ok(opened?)
}

/// Gives the log a new epoch; needs neither the master key nor this release's projections, which a log that was just
/// restored may lack.
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
    let private = start_private(config).await?;
    let renewed = on(address(private.endpoint())).await;
    private.stop().await?;
    renewed
}

/// Opens the engine for a command.
pub(super) async fn open(config: &Config) -> anyhow::Result<Opened> {
    if let Some(address) = &config.database {
        return Ok(Opened { tenure: engine(config, address.clone()).await?, private: None });
    }
    if let Some(endpoint) = private::running(&config.data_dir)? {
        return Ok(Opened { tenure: engine(config, address(&endpoint)).await?, private: None });
    }
    let private = start_private(config).await?;
    let tenure = engine(config, address(private.endpoint())).await?;
    Ok(Opened { tenure, private: Some(private) })
}
