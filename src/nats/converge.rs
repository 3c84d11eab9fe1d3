//! Makes the streams of one account what they should be.

use std::collections::BTreeMap;

use async_nats::connection;
use async_nats::jetstream::context::Context;
use async_nats::jetstream::stream::Config;
use futures::TryStreamExt as _;
use tokio::time::Instant;

use super::error::NatsError;
use super::handle::{Nats, Ready};
use super::lease::{Held, Unless};
use super::publisher::AccountKeys;
use super::store::Part;
use super::streams::{Converged, DesiredStream, StreamOf, desired};
use crate::Tenure;
use crate::ids::AccountId;
use crate::projections::QueryError;

impl Nats {
    /// Creates, updates and deletes streams until the account has those that it should, and stores the failures. Callers that
    /// wait while this runs share the outcome of the next run.
    pub(super) async fn converge(&self, ready: &Ready, account: AccountId) -> Result<Converged, NatsError> {
        let keys = match self.provisioned(ready, account).await {
            Err(NatsError::NoAccount) => {
                self.parts.store.note_streams(account, &BTreeMap::new()).await?;
                return Err(NatsError::NoAccount);
            }
            keys => keys?,
        };
        let unless = Unless::ConvergedSince(Instant::now());
        let Some(mut held) = self.hold(account, Part::Streams, unless).await? else {
            let last = self.lock_of(account, Part::Streams);
            let last = last.lock().await;
            return Ok(last.converged.as_ref().map(|(_, done)| done.clone()).unwrap_or_default());
        };
        let begun = Instant::now();
        let converged = self.converge_held(account, &keys, &mut held).await;
        if let Ok(done) = &converged {
            held.last.converged = Some((begun, done.clone()));
        }
        self.give_back(held, converged.as_ref().err()).await;
        converged
    }

    async fn converge_held(
        &self,
        account: AccountId,
        keys: &AccountKeys,
        held: &mut Held,
    ) -> Result<Converged, NatsError> {
        // Read while the lease is held, so that an outdated set of streams never replaces a newer one.
        let desired = desired(&self.parts.tenure, account).await?;
        let jetstream = self.manage(account, keys, keys.state.revoked_before).await?;
        let mut done = Converged::default();
        let changed = self.change(&jetstream, &desired, held, &mut done).await;
        self.parts.store.note_streams(account, &done.failed).await?;
        for (stream, reason) in &done.failed {
            tracing::warn!(%account, stream, reason, "a stream is not as it should be; it is tried again");
        }
        changed.map(|()| done)
    }

    async fn change(
        &self,
        jetstream: &Context,
        desired: &BTreeMap<String, DesiredStream>,
        held: &mut Held,
        done: &mut Converged,
    ) -> Result<(), NatsError> {
        let (tenure, replicas) = (&self.parts.tenure, self.parts.settings.replicas);
        let found: BTreeMap<String, Config> = jetstream
            .streams()
            .map_ok(|info| (info.config.name.clone(), info.config))
            .try_collect()
            .await
            .map_err(|error| NatsError::JetStream(error.to_string()))?;
        // First, because what is gone may hold a name or a subject that is wanted.
        for (name, config) in &found {
            let Some(of) = StreamOf::read(&config.metadata) else { continue };
            if desired.get(name).is_some_and(|wanted| wanted.of == of) || is_alive(tenure, of).await? {
                continue;
            }
            self.may_go_on(jetstream, held).await?;
            // Once more: the name may have been given to another pipe's stream since.
            match jetstream.get_stream(name).await {
                Ok(stream) if StreamOf::read(&stream.cached_info().config.metadata) != Some(of) => continue,
                Ok(_) => {}
                Err(error) => {
                    done.failed.insert(name.clone(), error.to_string());
                    continue;
                }
            }
            match jetstream.delete_stream(name).await {
                Ok(_) => done.deleted += 1,
                Err(error) => drop(done.failed.insert(name.clone(), error.to_string())),
            }
        }
        for wanted in desired.values() {
            let outcome = match found.get(&wanted.name) {
                Some(config) if wanted.is_met_by(config, replicas) => continue,
                Some(config) if StreamOf::read(&config.metadata).is_none_or(|of| of == wanted.of) => {
                    self.may_go_on(jetstream, held).await?;
                    let changed = jetstream.update_stream(wanted.config(config.clone(), replicas)).await;
                    changed.map(|_| done.changed += 1).map_err(|error| error.to_string())
                }
                _ => {
                    self.may_go_on(jetstream, held).await?;
                    let created = jetstream.create_stream(wanted.config(Config::default(), replicas)).await;
                    created.map(|_| done.created += 1).map_err(|error| error.to_string())
                }
            };
            if let Err(reason) = outcome {
                done.failed.insert(wanted.name.clone(), reason);
            }
        }
        Ok(())
    }

    /// Asked before each change: the connection stands, and the lease was this node's all the time.
    async fn may_go_on(&self, jetstream: &Context, held: &mut Held) -> Result<(), NatsError> {
        if jetstream.client().connection_state() != connection::State::Connected {
            return Err(NatsError::Silent("the connection to an account was lost"));
        }
        self.ready_now()?;
        if self.keep(held).await? { Ok(()) } else { Err(NatsError::Held) }
    }
}

/// Whether the pipe or source of a stream exists. Asked before a stream is deleted, because a node that was suspended may act on
/// what it read long ago; what is gone never comes back.
async fn is_alive(tenure: &Tenure, of: StreamOf) -> Result<bool, QueryError> {
    let found = match of {
        StreamOf::Pipe(id) => tenure.reader().pipe(id).await.map(drop),
        StreamOf::Source(id) => tenure.reader().source(id).await.map(drop),
    };
    match found {
        Ok(()) => Ok(true),
        Err(QueryError::NotFound) => Ok(false),
        Err(error) => Err(error),
    }
}
