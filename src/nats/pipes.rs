//! What is known of the streams of an account's pipes.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::timeout;

use super::error::NatsError;
use super::handle::{Nats, Ready};
use super::streams::{StreamOf, stream_name};
use super::system::ReportedStream;
use crate::ids::AccountId;

/// How long a request waits for the streams of a pipe that it has just made.
const PROVISION_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a list of pipes waits for the state of their streams.
const REPORT_TIMEOUT: Duration = Duration::from_secs(1);

/// The state of a pipe's stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PipeState {
    /// The number of messages in it.
    pub total: u64,
    /// The number that its reader has not acknowledged.
    pub unread: u64,
    /// Whether the stream is there.
    pub provisioned: bool,
    /// Why it is not there, or not as it should be.
    pub reason: Option<String>,
}

/// The state of the streams of one account.
pub struct PipeStates {
    account: AccountId,
    streams: Result<BTreeMap<String, ReportedStream>, String>,
    failed: BTreeMap<String, String>,
    /// Why the account cannot be changed.
    failure: Option<String>,
}

impl PipeStates {
    /// The state of one pipe's stream.
    #[must_use]
    pub fn of(&self, handle: &str, pipe: &str, of: StreamOf) -> PipeState {
        let name = stream_name(self.account, handle, pipe);
        let failed = self.failed.get(&name).cloned();
        let missing = |reason: Option<String>| PipeState { total: 0, unread: 0, provisioned: false, reason };
        match &self.streams {
            Err(reason) => missing(Some(reason.clone())),
            Ok(streams) => match streams.get(&name).filter(|stream| of.owns(stream)) {
                Some(stream) => PipeState {
                    total: stream.state.messages,
                    unread: stream.unread(),
                    provisioned: true,
                    reason: failed,
                },
                None => missing(
                    failed
                        .or_else(|| self.failure.clone())
                        .or_else(|| Some("the stream is not there yet".to_owned())),
                ),
            },
        }
    }
}

impl Nats {
    /// The state of the streams of an account. If the servers do not tell, every pipe says so.
    ///
    /// # Errors
    /// [`NatsError::Store`] if the database cannot be read.
    pub async fn pipe_states(&self, account: AccountId) -> Result<PipeStates, NatsError> {
        let failed = self.parts.store.failed_streams(account).await?.into_iter().collect();
        let public_key = match self.parts.tenure.reader().account(account).await {
            Ok(account) => account.nats_account_pub,
            Err(crate::projections::QueryError::NotFound) => None,
            Err(error) => return Err(error.into()),
        };
        let streams = match public_key {
            None => Ok(BTreeMap::new()),
            Some(public_key) => match timeout(REPORT_TIMEOUT, self.report(&public_key)).await {
                Ok(streams) => streams.map_err(|error| error.to_string()),
                Err(_) => Err("NATS does not answer".to_owned()),
            },
        };
        let failure = self.parts.store.failure(account).await?;
        Ok(PipeStates { account, streams, failed, failure })
    }

    async fn report(&self, public_key: &str) -> Result<BTreeMap<String, ReportedStream>, NatsError> {
        let ready = self.ready_now()?;
        ready.system.streams_of(public_key, ready.servers.len()).await
    }

    /// Makes the streams of an account's pipes, for two seconds at most. Whether the stream of this one is there.
    pub async fn provision(&self, account: AccountId, handle: &str, pipe: &str) -> bool {
        let name = stream_name(account, handle, pipe);
        let nats = Self { parts: self.parts.clone(), _running: None };
        // Goes on if the time is up.
        let converging = tokio::spawn(async move {
            let ready: Ready = nats.ready().await?;
            nats.converge(&ready, account).await
        });
        match timeout(PROVISION_TIMEOUT, converging).await {
            Ok(Ok(Ok(done))) => !done.failed.contains_key(&name),
            Ok(Ok(Err(error))) => {
                tracing::debug!(%account, %error, "the stream of a new pipe is made later");
                false
            }
            Ok(Err(_)) | Err(_) => false,
        }
    }
}
