//! Finding the database of a command: the one that is named, a private one that is being served, or a private one
//! started for as long as the command runs.

use std::sync::Arc;

use crate::clock::SystemClock;
use crate::config::Config;
use crate::entropy::OsEntropy;
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
    let settings = Settings {
        connections: config.connections,
        forgotten_list: Some(config.forgotten_list.clone()),
        rules: config.rules.clone(),
        ..Settings::new(address, config.master_key.clone())
    };
    Ok(Tenure::open(settings, Arc::new(SystemClock), Arc::new(OsEntropy::default())).await?)
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
