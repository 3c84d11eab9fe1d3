//! What an operator is told of NATS.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use uuid::Uuid;

use super::error::NatsError;
use super::handle::Nats;
use super::streams;
use super::system::StreamsByAccount;
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
        self.compare_for(&mut status, seen).await?;
        let failures = self.parts.store.failures(NAMED).await?;
        status.failures =
            failures.into_iter().map(|(account_id, reason)| AccountFailure { account_id, reason }).collect();
        Ok(status)
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
            let system = store.keys().await?.map(|keys| keys.system_account);
            let unknown =
                accounts.iter().filter(|key| !known.contains(*key) && Some(*key) != system.as_ref());
            status.accounts_unknown = unknown.count();
        }
        Ok(())
    }
}
