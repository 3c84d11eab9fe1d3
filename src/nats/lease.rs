//! One change at a time of each account: within this node by a lock, among nodes by a lease.

use std::time::Duration;

use tokio::sync::OwnedMutexGuard;
use tokio::time::Instant;

use super::error::NatsError;
use super::handle::Nats;
use super::store::{LEASE_SECONDS, Part};
use super::streams::Last;
use crate::clock::Stopwatch;
use crate::ids::AccountId;

/// How long to wait for another node that is changing an account: longer than its lease.
const HELD_TIMEOUT: Duration = Duration::from_secs(6);

/// The pause between two tries to take the lease.
const HELD_PAUSE: Duration = Duration::from_millis(20);

/// The right to change a part of an account.
pub(super) struct Held {
    account: AccountId,
    part: Part,
    since: Stopwatch,
    pub(super) last: OwnedMutexGuard<Last>,
}

/// The condition under which the work has already been done by another caller or node.
#[derive(Clone, Copy, Debug)]
pub(super) enum Unless {
    /// No condition: the work is always done.
    Never,
    /// If the servers have the account's newest token.
    Pushed,
    /// If its streams were compared from this moment on.
    ConvergedSince(Instant),
}

impl Nats {
    /// Waits for the right to change a part of an account; none if there is nothing left to do by then.
    pub(super) async fn hold(
        &self,
        account: AccountId,
        part: Part,
        unless: Unless,
    ) -> Result<Option<Held>, NatsError> {
        let last = self.lock_of(account, part).lock_owned().await;
        let waited = Stopwatch::start();
        loop {
            let is_done = match unless {
                Unless::Never => false,
                Unless::Pushed => self.parts.store.is_pushed(account).await?,
                Unless::ConvergedSince(asked) => {
                    last.converged.as_ref().is_some_and(|(begun, _)| *begun >= asked)
                }
            };
            if is_done {
                return Ok(None);
            }
            let since = Stopwatch::start();
            if self.parts.store.hold(account, part, self.parts.tenure.node()).await? {
                return Ok(Some(Held { account, part, since, last }));
            }
            if waited.elapsed() > HELD_TIMEOUT {
                return Err(NatsError::Held);
            }
            tokio::time::sleep(HELD_PAUSE).await;
        }
    }

    /// Renews the lease if much of it has passed. False if it may have been another node's in between: what was read before is
    /// not to be acted on.
    pub(super) async fn keep(&self, held: &mut Held) -> Result<bool, NatsError> {
        let elapsed = held.since.elapsed().as_secs_f64();
        if elapsed < LEASE_SECONDS / 2.0 {
            return Ok(true);
        }
        let since = Stopwatch::start();
        if !self.parts.store.hold(held.account, held.part, self.parts.tenure.node()).await? {
            return Err(NatsError::Held);
        }
        held.since = since;
        Ok(elapsed < LEASE_SECONDS)
    }

    /// Gives the right back, and notes why the change failed.
    pub(super) async fn give_back(&self, held: Held, failure: Option<&NatsError>) {
        let account = held.account;
        if let Some(error) = failure.filter(|error| !error.passes()) {
            tracing::warn!(%account, %error, "an account cannot be changed at NATS; it is tried again");
            if let Err(error) = self.parts.store.note_failure(account, &error.to_string()).await {
                tracing::debug!(%error, "the failure of a NATS account could not be stored");
            }
        }
        if let Err(error) = self.parts.store.release(account, held.part, self.parts.tenure.node()).await {
            tracing::debug!(%error, "the lease on a NATS account could not be given back; it ends by itself");
        }
    }
}
