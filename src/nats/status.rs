//! What an operator is told of NATS.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use uuid::Uuid;

use super::error::NatsError;
use super::handle::Nats;
use super::relay::relay_stream_name;
use super::streams;
use super::system::StreamsByAccount;
use crate::clock::Timestamp;
use crate::ids::AccountId;

/// How many accounts are read at a time.
const PAGE: i64 = 500;

/// How many streams of each kind a report names.
const NAMED: usize = 100;

/// A server.
#[derive(Clone, Debug, Serialize)]
pub struct ServerStatus {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
}

/// A stream that is not as it should be.
#[derive(Clone, Debug, Serialize)]
pub struct StreamStatus {
    /// The account.
    pub account_id: AccountId,
    /// The stream's name.
    pub stream: String,
    /// What is wrong.
    pub reason: String,
}

/// An account that could not be changed.
#[derive(Clone, Debug, Serialize)]
pub struct AccountFailure {
    /// The account.
    pub account_id: AccountId,
    /// What is wrong.
    pub reason: String,
}

/// How far the relay has come.
#[derive(Clone, Debug, Default, Serialize)]
pub struct RelayStatus {
    /// The stream of the log's present epoch.
    pub stream: String,
    /// The node that relays; none at the moment if no node does.
    pub node: Option<Uuid>,
    /// The first position that the stream carries; none before it is made.
    pub first: Option<i64>,
    /// The oldest position that is still in it; more than `first` if the relay is set to keep no more.
    pub oldest: Option<i64>,
    /// The newest position of the log.
    pub head: i64,
    /// The newest position in the stream; none if the stream is not there, or cannot be asked.
    pub tail: Option<i64>,
    /// How many events are not in the stream yet, as far as is known.
    pub lag: Option<i64>,
    /// The age of the oldest of them, in seconds.
    pub lag_seconds: Option<f64>,
    /// Why the relay has stopped, until it is told from where to go on, or the reason is gone.
    pub stopped: Option<String>,
    /// Why the relay does not get on at the moment; it tries again.
    pub failure: Option<String>,
    /// How often `JetStream` had lost events that were published again.
    pub repairs: i64,
    /// The last time.
    pub last_repair: Option<RelayRepair>,
}

/// Events that `JetStream` had lost, and that were published again.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct RelayRepair {
    /// The first position.
    pub from: i64,
    /// The last position.
    pub to: i64,
    /// When this was found.
    pub at: Timestamp,
    /// Whether the stream was made anew, because sequences of lost events were not free.
    pub made_anew: bool,
}

/// The state of NATS.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Status {
    /// Whether it can be used.
    pub usable: bool,
    /// Why it cannot.
    pub reason: Option<String>,
    /// The operator in force.
    pub operator: Option<String>,
    /// The servers.
    pub servers: Vec<ServerStatus>,
    /// How many accounts should be there.
    pub accounts: usize,
    /// How many accounts the servers lack.
    pub accounts_missing: usize,
    /// How many accounts the servers have that are not this log's.
    pub accounts_unknown: usize,
    /// Accounts that could not be changed; at most a hundred.
    pub failures: Vec<AccountFailure>,
    /// How many streams should be there.
    pub streams: usize,
    /// Streams that are missing, different or failed; at most a hundred.
    pub drift: Vec<StreamStatus>,
    /// Streams in accounts of this log that no pipe has; at most a hundred. Those that Tenure has made are deleted.
    pub orphans: Vec<StreamStatus>,
    /// How far the relay has come.
    pub relay: RelayStatus,
}

impl Nats {
    /// Compares what should be there with what is, and changes nothing.
    ///
    /// # Errors
    /// [`NatsError::Store`] if the database cannot be read.
    pub async fn status(&self) -> Result<Status, NatsError> {
        let mut status = Status::default();
        let seen = match self.ready().await {
            Ok(ready) => {
                status.usable = true;
                status.operator = Some(ready.operator.public_key.clone());
                status.servers = ready
                    .servers
                    .iter()
                    .map(|server| ServerStatus { name: server.name.clone(), version: server.version.clone() })
                    .collect();
                let servers = ready.servers.len();
                let there = async {
                    Ok::<_, NatsError>((
                        ready.system.accounts(servers).await?,
                        ready.system.streams(servers).await?,
                    ))
                };
                match there.await {
                    Ok(seen) => Some(seen),
                    Err(error) => {
                        (status.usable, status.reason) = (false, Some(error.to_string()));
                        None
                    }
                }
            }
            Err(error) => {
                status.reason = Some(error.to_string());
                None
            }
        };
        status.relay = self.relay_status(seen.as_ref().map(|(_, streams)| streams)).await?;
        self.compare_for(&mut status, seen).await?;
        let failures = self.parts.store.failures(NAMED).await?;
        status.failures =
            failures.into_iter().map(|(account_id, reason)| AccountFailure { account_id, reason }).collect();
        Ok(status)
    }

    async fn relay_status(&self, reported: Option<&StreamsByAccount>) -> Result<RelayStatus, NatsError> {
        let store = &self.parts.store;
        let record = store.relay().await?;
        let (head, epoch) = store.newest().await?;
        let stream = relay_stream_name(epoch);
        let platform = store.keys().await?.and_then(|keys| keys.platform);
        let found = reported
            .zip(platform)
            .and_then(|(reported, platform)| reported.get(&platform.public_key)?.get(&stream));
        let tail = found.map(|found| i64::try_from(found.state.last).unwrap_or(i64::MAX));
        let of_epoch = record.epoch == Some(epoch);
        let is_present = of_epoch || record.epoch.is_none();
        let reached = tail.or_else(|| (of_epoch && record.is_made).then_some(record.relayed));
        let waiting_since = match reached {
            Some(reached) if reached < head => store.recorded_after(reached).await?,
            _ => None,
        };
        let now = self.parts.tenure.clock().now();
        Ok(RelayStatus {
            stream,
            node: record.node,
            first: record.first.filter(|_| of_epoch && record.is_made),
            oldest: found.map(|found| i64::try_from(found.state.first).unwrap_or(i64::MAX)),
            head,
            tail,
            lag: reached.map(|reached| (head - reached).max(0)),
            lag_seconds: reached.map(|_| waiting_since.map_or(0.0, |at| now.seconds_since(at).max(0.0))),
            stopped: record.refusal.filter(|_| is_present && record.node.is_some()),
            failure: record.failure.filter(|_| is_present),
            repairs: record.repairs,
            last_repair: record.repaired.map(|(from, to, at)| {
                let made_anew = record.repaired_anew;
                RelayRepair { from, to, at, made_anew }
            }),
        })
    }

    async fn compare_for(
        &self,
        status: &mut Status,
        seen: Option<(BTreeSet<String>, StreamsByAccount)>,
    ) -> Result<(), NatsError> {
        let (store, replicas) = (&self.parts.store, self.parts.settings.replicas);
        let mut after = AccountId::from_uuid(Uuid::nil());
        let mut known = BTreeSet::new();
        let none = BTreeMap::new();
        loop {
            let page = store.accounts_after(after, PAGE).await?;
            let Some((last, _)) = page.last() else { break };
            after = *last;
            for (account, state) in page {
                status.accounts += 1;
                let desired = streams::desired(&self.parts.tenure, account).await?;
                status.streams += desired.len();
                let failed: BTreeMap<String, String> =
                    store.failed_streams(account).await?.into_iter().collect();
                let told = |name: &str, reason: &str| StreamStatus {
                    account_id: account,
                    stream: name.to_owned(),
                    reason: failed.get(name).cloned().unwrap_or_else(|| reason.to_owned()),
                };
                if let Some((accounts, reported)) = &seen {
                    if !accounts.contains(&state.public_key) {
                        status.accounts_missing += 1;
                    }
                    let found = reported.get(&state.public_key).unwrap_or(&none);
                    for wanted in desired.values() {
                        let config = found.get(&wanted.name).map(|stream| stream.config.as_ref());
                        match config {
                            None => status.drift.push(told(&wanted.name, "missing")),
                            Some(Some(config)) if wanted.is_met_by(config, replicas) => {}
                            Some(_) => status.drift.push(told(&wanted.name, "has other settings")),
                        }
                    }
                    for stream in found.values().filter(|stream| !desired.contains_key(&stream.name)) {
                        let ours = stream.config.as_ref().is_some_and(streams::is_ours);
                        let reason = if ours { "its pipe is gone" } else { "made by others; left alone" };
                        status.orphans.push(told(&stream.name, reason));
                    }
                }
                status.drift.truncate(NAMED);
                status.orphans.truncate(NAMED);
                known.insert(state.public_key);
            }
        }
        if let Some((accounts, _)) = seen {
            if let Some(keys) = store.keys().await? {
                known.insert(keys.system_account);
                known.extend(keys.platform.map(|platform| platform.public_key));
            }
            status.accounts_unknown = accounts.difference(&known).count();
        }
        Ok(())
    }
}
