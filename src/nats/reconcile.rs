//! Keeps NATS in step with the log.
//!
//! Every node revokes the users whose credentials end, as soon as it sees the event. Everything else is done by the node that
//! holds the lease: it makes accounts and streams that are missing, and looks at all of them when it takes over, after each new
//! connection and in intervals.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt as _, stream};
use tokio::sync::{broadcast, mpsc};
use uuid::Uuid;

use super::claims::ReadAccount;
use super::error::NatsError;
use super::handle::{Nats, Ready};
use super::keys::OperatorKeys;
use super::publisher::Push;
use super::store::Which;
use super::streams;
use super::system::{Link, System};
use crate::clock::Stopwatch;
use crate::engine::Observed;
use crate::event_log::EventHeader;
use crate::ids::AccountId;

/// The pause before something that failed is tried again.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// How often the servers are asked whether they are still the same, and the operator's keys are read again.
const SERVERS_EVERY: Duration = Duration::from_secs(2);

/// How often the node with the lease looks for work that no event announces.
const TICK: Duration = Duration::from_millis(500);

/// How often it looks for users whose credentials have ended, tokens that servers have lost, and streams that failed.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// How often it compares all accounts and streams.
const COMPARE_EVERY: Duration = Duration::from_mins(1);

/// For how long after a revocation the servers are asked for the account's token: longer than any user's token is valid.
const WATCHED_SECONDS: f64 = 360.0;

/// How long a stream that failed is left alone.
const FAILED_SECONDS: f64 = 10.0;

/// For how many seconds an expired user is kept.
const KEPT_SECONDS: i64 = 600;

/// How many accounts are changed at once.
const AT_ONCE: usize = 8;

/// How many accounts are read at a time.
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
        match event.event_type.as_str() {
            "user.forgotten" => self.ended.extend(stream().map(Which::User)),
            "bearer_token.revoked" => self.ended.extend(stream().map(Which::BearerToken)),
            "account.member_removed" | "account.closed" | "api_key.revoked" | "ending.api_keys_revoked" => {
                self.ended.insert(event.account_id.map_or(Which::All, Which::Account));
            }
            _ => {}
        }
        match event.event_type.as_str() {
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
enum Task {
    Account(AccountId),
    Everything,
}

impl Nats {
    /// Runs the background tasks, for ever; without events, only the connection.
    pub(super) async fn run(self, observed: Option<broadcast::Receiver<Observed>>) {
        let Some(observed) = observed else { return self.keep_connected().await };
        let (tell, told) = mpsc::unbounded_channel();
        let (end, ended) = mpsc::unbounded_channel();
        tokio::join!(
            self.keep_connected(),
            self.react(observed, tell, end),
            self.keep_revoking(ended),
            self.keep_reconciling(told)
        );
    }

    fn down(&self, reason: &NatsError) {
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
    async fn keep_connected(&self) {
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
            () = self.watch(updates) => Err(NatsError::Disconnected("the connection has ended".to_owned())),
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
                Ok(Some((account, state))) if !read.tags().contains(&state.tag()) => {
                    tracing::warn!(%account, "a server was given an outdated token of an account; giving it the newest");
                    self.spawn_publish(account, Push::Anyway);
                }
                Ok(_) => {}
                Err(error) => tracing::debug!(%error, "a token that was given to a server cannot be checked"),
            }
        }
    }

    /// Gives an account's token to the servers in the background.
    fn spawn_publish(&self, account: AccountId, push: Push) {
        let nats = Self { parts: self.parts.clone(), _running: None };
        let stop = self.parts.stop.clone();
        let publishing = async move {
            let published = match nats.ready_now() {
                Ok(ready) => nats.publish_or_retire(&ready, account, push).await,
                Err(error) => Err(error),
            };
            // What was not given is found again by the node with the lease.
            if let Err(error) = published {
                tracing::debug!(%account, %error, "an account's token is given to the servers later");
            }
        };
        self.parts.tasks.spawn(async move {
            stop.run_until_cancelled(Box::pin(publishing)).await;
        });
    }

    async fn publish_or_retire(
        &self,
        ready: &Ready,
        account: AccountId,
        push: Push,
    ) -> Result<(), NatsError> {
        match self.publish(ready, account, push).await {
            Ok(_) => Ok(()),
            Err(NatsError::NoAccount) => {
                let closed = self.parts.store.closed_account(account).await?;
                match closed {
                    Some(public_key) => self.retire(ready, account, &public_key).await,
                    None => Ok(()),
                }
            }
            Err(error) => Err(error),
        }
    }

    /// Acts on events: revokes, and tells the node with the lease what has changed.
    async fn react(
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
    async fn keep_revoking(&self, mut ended: mpsc::UnboundedReceiver<Which>) {
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

    /// Keeps accounts and streams as the log says, while this node holds the lease.
    async fn keep_reconciling(&self, mut told: mpsc::UnboundedReceiver<Task>) {
        let node = self.parts.tenure.node();
        let mut state = Reconciler::default();
        let mut renewed: Option<Stopwatch> = None;
        loop {
            if let Ok(Some(task)) = tokio::time::timeout(TICK, told.recv()).await {
                state.note(task);
            }
            while let Ok(task) = told.try_recv() {
                state.note(task);
            }
            if renewed.as_ref().is_none_or(|renewed| renewed.elapsed() >= RETRY_PAUSE) {
                match self.parts.store.reconciles(node).await {
                    Ok(Some(had)) => {
                        // What happened before is not known here.
                        state.everything |= !had || renewed.is_none();
                        renewed = Some(Stopwatch::start());
                    }
                    // Another node does it, and hears of every event too.
                    Ok(None) => {
                        renewed = None;
                        state = Reconciler::default();
                    }
                    Err(error) => {
                        tracing::debug!(%error, "the lease on NATS could not be taken or renewed");
                        renewed = None;
                    }
                }
            }
            if renewed.is_none() {
                continue;
            }
            if let Ok(ready) = self.ready_now()
                && let Err(error) = self.reconcile(&ready, &mut state).await
            {
                tracing::debug!(%error, "NATS could not be brought in step; retrying");
            }
        }
    }

    async fn reconcile(&self, ready: &Ready, state: &mut Reconciler) -> Result<(), NatsError> {
        let is_due =
            |last: &Option<Stopwatch>, every| last.as_ref().is_none_or(|last| last.elapsed() >= every);
        let servers: Vec<&str> = ready.servers.iter().map(|server| server.id.as_str()).collect();
        let seen = format!("{}/{}/{}", ready.generation, ready.operator.public_key, servers.join(","));
        state.everything |= state.seen != seen;
        let accounts = std::mem::take(&mut state.accounts);
        state.accounts = self.converge_all(ready, accounts).await;
        let store = &self.parts.store;
        for account in store.unpushed(PAGE).await? {
            if let Err(error) = self.publish_or_retire(ready, account, Push::IfChanged).await {
                tracing::debug!(%account, %error, "an account's token could not be given to the servers");
            }
        }
        for (account, public_key) in store.closed(PAGE).await? {
            if let Err(error) = self.retire(ready, account, &public_key).await {
                tracing::debug!(%account, %error, "a closed account could not be removed from NATS");
            }
        }
        if is_due(&state.looked, LOOK_EVERY) {
            state.looked = Some(Stopwatch::start());
            for account in store.revoke_ended(&Which::All, self.now()).await? {
                self.spawn_publish(account, Push::IfChanged);
            }
            let recent = store.changed_within(WATCHED_SECONDS).await?;
            self.check_tokens(ready, recent).await?;
            state.accounts.extend(store.with_failed_streams(FAILED_SECONDS).await?);
            state.accounts.extend(store.unprovisioned(AccountId::from_uuid(Uuid::nil()), PAGE).await?);
        }
        if state.everything || is_due(&state.compared, COMPARE_EVERY) {
            let differing = self.compare(ready).await?;
            state.accounts.extend(differing);
            store.forget_expired(self.now() - KEPT_SECONDS).await?;
            (state.everything, state.seen, state.compared) = (false, seen, Some(Stopwatch::start()));
        }
        Ok(())
    }

    /// Makes the streams of these accounts as they should be. Returns those that have to be tried again.
    async fn converge_all(&self, ready: &Ready, accounts: BTreeSet<AccountId>) -> BTreeSet<AccountId> {
        let converging = accounts.into_iter().map(|account| async move {
            match self.converge(ready, account).await {
                Ok(_) | Err(NatsError::NoAccount) => None,
                Err(error) => {
                    tracing::debug!(%account, %error, "the streams of an account could not be made");
                    error.passes().then_some(account)
                }
            }
        });
        stream::iter(converging).buffer_unordered(AT_ONCE).filter_map(async |again| again).collect().await
    }

    /// Gives the tokens of these accounts to the servers again, where one has another or none.
    async fn check_tokens(&self, ready: &Ready, accounts: Vec<AccountId>) -> Result<(), NatsError> {
        let checking = accounts.into_iter().map(|account| async move {
            let Some((state, _)) = self.parts.store.claims(account, self.now()).await? else { return Ok(()) };
            if self.is_current(ready, &state).await? {
                return Ok(());
            }
            tracing::warn!(%account, "a server has an outdated token of an account, or none; giving it the newest");
            self.publish_or_retire(ready, account, Push::Anyway).await
        });
        let mut checked = stream::iter(checking).buffer_unordered(AT_ONCE);
        let mut first = Ok(());
        while let Some(outcome) = checked.next().await {
            first = first.and(outcome);
        }
        first
    }

    /// Whether every server has the newest token of an account, signed by the operator in force.
    async fn is_current(&self, ready: &Ready, state: &super::store::AccountState) -> Result<bool, NatsError> {
        let signer = ready.operator.signing_key()?.public_key();
        let tokens = ready.system.tokens(&state.public_key, ready.servers.len()).await?;
        Ok(tokens.len() >= ready.servers.len()
            && tokens.iter().all(|token| {
                ReadAccount::decode(token)
                    .is_ok_and(|read| read.tags().contains(&state.tag()) && read.iss == signer)
            }))
    }

    /// Compares all accounts and their streams with what the servers have. Gives them what they lack of tokens, and returns the
    /// accounts whose streams are not as they should be.
    async fn compare(&self, ready: &Ready) -> Result<BTreeSet<AccountId>, NatsError> {
        let (store, replicas) = (&self.parts.store, self.parts.settings.replicas);
        let tenure = &self.parts.tenure;
        let epoch = tenure.log().seen().get().epoch;
        let reported = ready.system.streams(ready.servers.len()).await?;
        let mut differing = BTreeSet::new();
        let mut after = AccountId::from_uuid(Uuid::nil());
        let (mut accounts, mut wanted) = (0_u32, 0_usize);
        let none = std::collections::BTreeMap::new();
        loop {
            let page = store.accounts_after(after, PAGE).await?;
            let Some((last, _)) = page.last() else { break };
            after = *last;
            for (account, state) in &page {
                accounts += 1;
                if state.epoch != epoch {
                    // The log may have lost revocations: all users of the account are revoked once.
                    self.publish_or_retire(ready, *account, Push::IfChanged).await?;
                }
                let desired = streams::desired(tenure, *account).await?;
                wanted += desired.len();
                let found = reported.get(&state.public_key).unwrap_or(&none);
                if !streams::is_converged(&desired, found, replicas) {
                    differing.insert(*account);
                }
            }
            self.check_tokens(ready, page.into_iter().map(|(account, _)| account).collect()).await?;
        }
        metrics::gauge!("tenure_nats_accounts").set(accounts);
        metrics::gauge!("tenure_nats_streams").set(u32::try_from(wanted).unwrap_or(u32::MAX));
        metrics::gauge!("tenure_nats_accounts_differing")
            .set(u32::try_from(differing.len()).unwrap_or(u32::MAX));
        Ok(differing)
    }
}

/// What the node with the lease has to do, and when it last looked.
#[derive(Default)]
struct Reconciler {
    accounts: BTreeSet<AccountId>,
    everything: bool,
    /// The servers, connection and operator at the last comparison of everything.
    seen: String,
    looked: Option<Stopwatch>,
    compared: Option<Stopwatch>,
}

impl Reconciler {
    fn note(&mut self, task: Task) {
        match task {
            Task::Account(account) => drop(self.accounts.insert(account)),
            Task::Everything => self.everything = true,
        }
    }
}
