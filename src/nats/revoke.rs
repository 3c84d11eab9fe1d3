//! Revokes users whose credentials end, on every node, and gives accounts' tokens to the servers until they have them.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::{StreamExt as _, stream};
use tokio::sync::{broadcast, mpsc};
use uuid::Uuid;

use super::error::NatsError;
use super::handle::{Nats, Ready};
use super::publisher::{Push, Retire};
use super::users::Which;
use crate::clock::Stopwatch;
use crate::engine::Observed;
use crate::event_log::EventHeader;
use crate::ids::AccountId;

/// The pause before something that failed is tried again, and between two looks for tokens that were not given yet.
const RETRY_PAUSE: Duration = Duration::from_millis(500);

/// How often a node says that the private NATS of its data directory is this database's.
const CLAIM_EVERY: Duration = Duration::from_secs(15);

/// How many accounts are changed at once, and read at a time.
const AT_ONCE: usize = 8;
const PAGE: i64 = 500;

/// What an event asks for.
#[derive(Debug, Default, PartialEq, Eq)]
struct Wanted {
    /// Users to look at, because a credential may have ended.
    ended: BTreeSet<Which>,
    /// Accounts whose token or streams may have to change.
    accounts: BTreeSet<Uuid>,
}

impl Wanted {
    fn add(&mut self, event: &EventHeader) {
        let stream = || event.stream.id.parse::<Uuid>().ok();
        match &*event.event_type {
            "user.forgotten" => self.ended.extend(stream().map(Which::User)),
            "bearer_token.revoked" => self.ended.extend(stream().map(Which::BearerToken)),
            "api_key.revoked" => self.ended.extend(stream().map(Which::ApiKey)),
            "account.member_removed" | "account.closed" | "ending.api_keys_revoked" => {
                self.ended.insert(event.account_id.map_or(Which::All, Which::Account));
            }
            _ => {}
        }
        match &*event.event_type {
            "account.opened"
            | "account.closed"
            | "account.nats_account_set"
            | "account.nats_signing_seed_reissued"
            | "source.created"
            | "source.deleted"
            | "pipe.created"
            | "pipe.retention_changed"
            | "pipe.deleted" => self.accounts.extend(event.account_id),
            _ => {}
        }
    }
}

/// What the node with the lease is told.
#[derive(Clone, Copy)]
pub(super) enum Task {
    Account(AccountId),
    Everything,
}

impl Nats {
    /// Gives an account's token to the servers in the background.
    pub(super) fn spawn_publish(&self, account: AccountId, push: Push) {
        let nats = Self { parts: self.parts.clone(), _running: None };
        let stop = self.parts.stop.clone();
        let publishing = async move {
            let published = match nats.ready_now() {
                Ok(ready) => nats.publish_or_retire(&ready, account, push).await,
                Err(error) => Err(error),
            };
            // `keep_pushing` tries again.
            if let Err(error) = published {
                tracing::debug!(%account, %error, "an account's token is given to the servers later");
            }
        };
        self.parts.tasks.spawn(async move {
            stop.run_until_cancelled(Box::pin(publishing)).await;
        });
    }

    /// Removes a closed account from the servers again, in the background.
    pub(super) fn spawn_retire(&self, account: AccountId, public_key: String) {
        let nats = Self { parts: self.parts.clone(), _running: None };
        let stop = self.parts.stop.clone();
        let retiring = async move {
            let retired = match nats.ready_now() {
                Ok(ready) => nats.retire(&ready, account, &public_key, Retire::Again).await,
                Err(error) => Err(error),
            };
            if let Err(error) = retired {
                tracing::debug!(%account, %error, "a closed account is removed from NATS later");
            }
        };
        self.parts.tasks.spawn(async move {
            stop.run_until_cancelled(Box::pin(retiring)).await;
        });
    }

    /// Gives an account's token to the servers, or removes the account from them if it is closed.
    pub(super) async fn publish_or_retire(
        &self,
        ready: &Ready,
        account: AccountId,
        push: Push,
    ) -> Result<(), NatsError> {
        match self.publish(ready, account, push).await {
            Ok(()) => Ok(()),
            Err(NatsError::NoAccount) => {
                let closed = self.parts.store.closed_account(account).await?;
                match closed {
                    Some(public_key) => self.retire(ready, account, &public_key, Retire::Once).await,
                    None => Ok(()),
                }
            }
            Err(error) => Err(error),
        }
    }

    /// Acts on events: revokes, and tells the node with the lease what has changed.
    pub(super) async fn react(
        &self,
        mut observed: broadcast::Receiver<Observed>,
        tell: mpsc::UnboundedSender<Task>,
        end: mpsc::UnboundedSender<Which>,
    ) {
        loop {
            let mut wanted = Wanted::default();
            match observed.recv().await {
                Ok(Observed::Events(events)) => events.iter().for_each(|event| wanted.add(event)),
                Ok(Observed::NewEpoch) | Err(broadcast::error::RecvError::Lagged(_)) => {
                    wanted.ended.insert(Which::All);
                    let _ = tell.send(Task::Everything);
                }
                Err(broadcast::error::RecvError::Closed) => return,
            }
            for account in wanted.accounts {
                let _ = tell.send(Task::Account(AccountId::from_uuid(account)));
            }
            for which in wanted.ended {
                let _ = end.send(which);
            }
        }
    }

    /// Revokes what events ask for: what has come while the last ones were revoked is done together.
    pub(super) async fn keep_revoking(&self, mut ended: mpsc::UnboundedReceiver<Which>) {
        while let Some(first) = ended.recv().await {
            let mut which = BTreeSet::from([first]);
            while let Ok(next) = ended.try_recv() {
                which.insert(next);
            }
            let revoking = which.into_iter().map(|which| self.revoke(which));
            stream::iter(revoking).buffer_unordered(AT_ONCE).collect::<()>().await;
        }
    }

    /// Revokes those of these users whose credentials have ended, and gives the accounts' tokens to the servers.
    async fn revoke(&self, which: Which) {
        let mut accounts = self.parts.store.revoke_ended(&which, self.now()).await;
        while let Err(error) = &accounts {
            tracing::warn!(%error, "users cannot be revoked at NATS yet; retrying");
            tokio::time::sleep(RETRY_PAUSE).await;
            accounts = self.parts.store.revoke_ended(&which, self.now()).await;
        }
        for account in accounts.into_iter().flatten() {
            self.spawn_publish(account, Push::IfChanged);
        }
    }

    /// Gives the servers what they were not given yet, on every node that can: the one that has revoked a user may be dead, or
    /// without a connection.
    pub(super) async fn keep_pushing(&self) {
        let mut claimed = Stopwatch::start();
        loop {
            tokio::time::sleep(RETRY_PAUSE).await;
            if let Some(directory) = self.parts.settings.private.filter(|_| claimed.elapsed() > CLAIM_EVERY) {
                claimed = Stopwatch::start();
                if let Err(error) = self.parts.store.claim_private(directory, &self.parts.settings.url).await
                {
                    tracing::debug!(%error, "the private NATS of this node could not be announced");
                }
            }
            let Ok(ready) = self.ready_now() else { continue };
            let unpushed = match self.parts.store.unpushed(PAGE).await {
                Ok(unpushed) => unpushed,
                Err(error) => {
                    tracing::debug!(%error, "could not look for tokens that were not given to the servers");
                    continue;
                }
            };
            let ready = &ready;
            let pushing = unpushed.into_iter().map(|account| async move {
                if let Err(error) = self.publish_or_retire(ready, account, Push::IfChanged).await {
                    tracing::debug!(%account, %error, "an account's token could not be given to the servers");
                }
            });
            stream::iter(pushing).buffer_unordered(AT_ONCE).collect::<()>().await;
        }
    }
}
