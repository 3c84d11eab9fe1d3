//! Keeps the connection to the servers, and finds out whether they can be used.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;

use super::claims::ReadAccount;
use super::error::NatsError;
use super::handle::{Nats, Ready};
use super::keys::OperatorKeys;
use super::publisher::Push;
use super::system::{Link, System};

/// The pause before something that failed is tried again.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// How often the servers are asked whether they are still the same, and the operator's keys are read again.
const SERVERS_EVERY: Duration = Duration::from_secs(2);

impl Nats {
    pub(super) fn down(&self, reason: &NatsError) {
        let reason = reason.to_string();
        self.parts.ready.send_if_modified(|ready| {
            let is_new = ready.as_ref().err() != Some(&reason);
            if is_new {
                tracing::warn!(reason, "NATS cannot be used");
                metrics::gauge!("tenure_nats_usable").set(0);
                *ready = Err(reason);
            }
            is_new
        });
    }

    /// Connects to the servers, and finds out whether they can be used.
    pub(super) async fn keep_connected(&self) {
        loop {
            let Err(error) = self.connect().await;
            self.down(&error);
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }

    async fn connect(&self) -> Result<std::convert::Infallible, NatsError> {
        let tenure = &self.parts.tenure;
        let keys = self.parts.store.keys().await?.ok_or(NatsError::NoOperator)?;
        let url = &self.parts.settings.url;
        let system = System::connect(url, &keys, tenure.clock(), tenure.entropy()).await?;
        let updates = system.watch_updates().await?;
        let watching = async {
            if self.parts.is_looking { std::future::pending().await } else { self.watch(updates).await }
        };
        let following = async {
            let mut link = system.link();
            loop {
                let now = link.borrow_and_update().clone();
                let found = match now {
                    Link::Down(reason) => Err(NatsError::Disconnected(reason)),
                    Link::Up(generation) => self.examine(&system, generation).await,
                };
                match found {
                    Ok(ready) => self.up(ready),
                    Err(error) => self.down(&error),
                }
                let _ = tokio::time::timeout(SERVERS_EVERY, link.changed()).await;
            }
        };
        tokio::select! {
            never = following => never,
            () = watching => Err(NatsError::Disconnected("the connection has ended".to_owned())),
        }
    }

    fn up(&self, found: Ready) {
        self.parts.ready.send_if_modified(|ready| {
            let is_new = ready.as_ref().map_or(true, |known| {
                known.generation != found.generation
                    || known.servers != found.servers
                    || known.operator.public_key != found.operator.public_key
            });
            if is_new {
                tracing::info!(servers = found.servers.len(), "NATS can be used");
                metrics::gauge!("tenure_nats_usable").set(1);
                *ready = Ok(found);
            }
            is_new
        });
    }

    /// Whether the servers keep tenants apart and trust an operator of this log.
    async fn examine(&self, system: &System, generation: u64) -> Result<Ready, NatsError> {
        let keys: OperatorKeys = self.parts.store.keys().await?.ok_or(NatsError::NoOperator)?;
        let servers = system.servers().await?;
        let trusted = system.trusted_operators(servers.len()).await?;
        let operator = keys.operators.iter().find(|operator| trusted.contains(&operator.public_key));
        let Some(operator) = operator else {
            let found = trusted.into_iter().collect::<Vec<_>>().join(", ");
            let expected =
                keys.operators.first().map(|operator| operator.public_key.clone()).unwrap_or_default();
            return Err(NatsError::AnotherOperator { found, expected });
        };
        let operator = Arc::new(operator.clone());
        Ok(Ready { system: system.clone(), servers: Arc::new(servers), operator, generation })
    }

    /// Watches what nodes give to the servers: one that was suspended may give an older token, which takes a revocation back. The
    /// newer one is given again at once.
    async fn watch(&self, mut updates: async_nats::Subscriber) {
        while let Some(update) = updates.next().await {
            let Ok(token) = std::str::from_utf8(&update.payload) else { continue };
            let Ok(read) = ReadAccount::decode(token) else { continue };
            match self.parts.store.account_by_key(&read.sub).await {
                Ok(Some((account, state))) if state.is_retired && !read.is_without_users() => {
                    tracing::warn!(%account, "a server was given a closed account; removing it again");
                    self.spawn_retire(account, state.public_key);
                }
                Ok(Some((account, state))) if !state.is_retired && !read.tags().contains(&state.tag()) => {
                    tracing::warn!(%account, "a server was given an outdated token of an account; giving it the newest");
                    self.spawn_publish(account, Push::Anyway);
                }
                Ok(_) => {}
                Err(error) => tracing::debug!(%error, "a token that was given to a server cannot be checked"),
            }
        }
    }
}
