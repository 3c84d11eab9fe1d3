//! Keeps accounts and streams at NATS as the log says, on the node that holds the lease.
//!
//! Events name the accounts to look at. All of them are compared when a node takes over, after each new connection and in
//! intervals, so that no list of pending work has to survive a crash. One account that cannot be mended holds up no other.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures::{FutureExt as _, StreamExt as _, stream};
use tokio::sync::{broadcast, mpsc};
use uuid::Uuid;

use super::claims::ReadAccount;
use super::error::NatsError;
use super::handle::{Nats, Ready};
use super::publisher::{Push, Retire};
use super::revoke::Task;
use super::store::AccountState;
use super::streams;
use super::users::Which;
use crate::clock::Stopwatch;
use crate::engine::Observed;
use crate::ids::AccountId;

/// How often the lease is renewed, and the pause after a failure.
const RENEW_EVERY: Duration = Duration::from_secs(1);

/// How often the node with the lease looks for work, unless an event wakes it.
const TICK: Duration = Duration::from_millis(500);

/// How often it looks for users whose credentials have ended, tokens that servers have lost, accounts and streams that failed.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// How often it compares all accounts and streams.
const COMPARE_EVERY: Duration = Duration::from_mins(1);

/// For how long after a revocation the servers are asked for the account's token: longer than any user's token is valid.
const WATCHED_SECONDS: f64 = 360.0;

/// How long a stream that failed is left alone.
const FAILED_SECONDS: f64 = 10.0;

/// For how many seconds an expired user is kept.
const KEPT_SECONDS: i64 = 600;

/// How many accounts are changed at once, and read at a time.
const AT_ONCE: usize = 8;
const PAGE: i64 = 500;

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

impl Nats {
    /// Runs the background tasks, for ever; without events, only the connection. A panic is logged, and they begin again.
    pub(super) async fn run(self, mut observed: Option<broadcast::Receiver<Observed>>) {
        loop {
            let events = observed.as_ref().map(broadcast::Receiver::resubscribe);
            let running = Box::pin(self.run_once(observed.take()));
            if AssertUnwindSafe(running).catch_unwind().await.is_err() {
                tracing::error!("a background task of NATS panicked; it begins again");
            }
            self.down(&NatsError::NotUsable("a background task has failed and begins again".to_owned()));
            observed = events;
            tokio::time::sleep(RENEW_EVERY).await;
        }
    }

    async fn run_once(&self, observed: Option<broadcast::Receiver<Observed>>) {
        let Some(observed) = observed else { return self.keep_connected().await };
        let (tell, told) = mpsc::unbounded_channel();
        let (end, ended) = mpsc::unbounded_channel();
        // What happened before is not known here.
        let _ = end.send(Which::All);
        tokio::join!(
            self.keep_connected(),
            self.react(observed, tell, end),
            self.keep_revoking(ended),
            self.keep_pushing(),
            self.keep_reconciling(told),
            self.keep_platform(),
            self.keep_relaying()
        );
    }

    /// Keeps accounts and streams as the log says, while this node holds the lease, which it takes only if it can use NATS.
    async fn keep_reconciling(&self, mut told: mpsc::UnboundedReceiver<Task>) {
        let (store, node) = (&self.parts.store, self.parts.tenure.node());
        let mut state = Reconciler::default();
        let mut leads = false;
        loop {
            if let Ok(Some(task)) = tokio::time::timeout(TICK, told.recv()).await {
                state.note(task);
            }
            while let Ok(task) = told.try_recv() {
                state.note(task);
            }
            let Ok(ready) = self.ready_now() else {
                if leads && let Err(error) = store.stop_reconciling(node).await {
                    tracing::debug!(%error, "the lease on NATS could not be given back; it ends by itself");
                }
                leads = false;
                continue;
            };
            match self.renew(&mut leads).await {
                Renewed::Taken => state.everything = true,
                Renewed::Kept => {}
                Renewed::Lost => {
                    // Another node does it, and hears of every event too.
                    state = Reconciler::default();
                    continue;
                }
            }
            let reconciling = self.reconcile(&ready, &mut state);
            tokio::pin!(reconciling);
            loop {
                tokio::select! {
                    outcome = &mut reconciling => {
                        if let Err(error) = outcome {
                            tracing::debug!(%error, "NATS could not be brought in step; retrying");
                        }
                        break;
                    }
                    () = tokio::time::sleep(RENEW_EVERY) => {
                        if matches!(self.renew(&mut leads).await, Renewed::Lost) || self.ready_now().is_err() {
                            break;
                        }
                    }
                }
            }
        }
    }

    /// Takes or renews the lease.
    async fn renew(&self, leads: &mut bool) -> Renewed {
        let led = *leads;
        match self.parts.store.reconciles(self.parts.tenure.node()).await {
            Ok(Some(had)) => {
                *leads = true;
                if had && led { Renewed::Kept } else { Renewed::Taken }
            }
            Ok(None) => {
                *leads = false;
                Renewed::Lost
            }
            Err(error) => {
                tracing::debug!(%error, "the lease on NATS could not be taken or renewed");
                *leads = false;
                Renewed::Lost
            }
        }
    }

    async fn reconcile(&self, ready: &Ready, state: &mut Reconciler) -> Result<(), NatsError> {
        let is_due =
            |last: &Option<Stopwatch>, every| last.as_ref().is_none_or(|last| last.elapsed() >= every);
        let servers: Vec<&str> = ready.servers.iter().map(|server| server.id.as_str()).collect();
        let seen = format!("{}/{}/{}", ready.generation, ready.operator.public_key, servers.join(","));
        let are_others = state.seen != seen;
        let accounts = std::mem::take(&mut state.accounts);
        state.accounts = self.converge_all(ready, accounts).await;
        if are_others || is_due(&state.looked, LOOK_EVERY) {
            state.looked = Some(Stopwatch::start());
            self.look_around(ready, state).await?;
        }
        if are_others || state.everything || is_due(&state.compared, COMPARE_EVERY) {
            (state.everything, state.compared) = (false, Some(Stopwatch::start()));
            let differing = self.compare(ready).await?;
            state.accounts.extend(differing);
            state.seen = seen;
            while self.parts.store.forget_expired(self.now() - KEPT_SECONDS).await? > 0 {}
        }
        Ok(())
    }

    /// Looks for what no event announces.
    async fn look_around(&self, ready: &Ready, state: &mut Reconciler) -> Result<(), NatsError> {
        let store = &self.parts.store;
        for account in store.revoke_ended(&Which::All, self.now()).await? {
            self.spawn_publish(account, Push::IfChanged);
        }
        self.check_tokens(ready, store.changed_within(WATCHED_SECONDS).await?).await;
        for (account, public_key) in store.closed(PAGE).await? {
            if let Err(error) = self.retire(ready, account, &public_key, Retire::Once).await {
                tracing::debug!(%account, %error, "a closed account could not be removed from NATS");
            }
        }
        state.accounts.extend(store.with_failed_streams(FAILED_SECONDS).await?);
        state.accounts.extend(store.with_failures(FAILED_SECONDS).await?);
        Ok(())
    }

    /// Makes the streams of these accounts as they should be. Returns those that have to be tried again soon.
    async fn converge_all(&self, ready: &Ready, accounts: BTreeSet<AccountId>) -> BTreeSet<AccountId> {
        let converging = accounts.into_iter().map(|account| async move {
            let error = match self.converge(ready, account).await {
                Ok(_) => return None,
                Err(NatsError::NoAccount) => {
                    self.publish_or_retire(ready, account, Push::IfChanged).await.err()?
                }
                Err(error) => error,
            };
            tracing::debug!(%account, %error, "an account could not be brought in step");
            error.passes().then_some(account)
        });
        let again: Vec<Option<AccountId>> =
            stream::iter(converging).buffer_unordered(AT_ONCE).collect().await;
        again.into_iter().flatten().collect()
    }

    /// Gives the tokens of these accounts to the servers again, where one has another or none.
    async fn check_tokens(&self, ready: &Ready, accounts: Vec<AccountId>) {
        let checking = accounts.into_iter().map(|account| async move {
            let checked = async {
                let Some((state, _)) = self.parts.store.claims(account, self.now()).await? else {
                    return Ok(());
                };
                self.check_token(ready, account, &state).await
            };
            if let Err(error) = checked.await {
                tracing::debug!(%account, %error, "an account's token could not be checked");
            }
        });
        stream::iter(checking).buffer_unordered(AT_ONCE).collect::<()>().await;
    }

    async fn check_token(
        &self,
        ready: &Ready,
        account: AccountId,
        state: &AccountState,
    ) -> Result<(), NatsError> {
        let signer = ready.operator.signing_key()?.public_key();
        let tokens = ready.system.tokens(&state.public_key, ready.servers.len()).await?;
        let is_current = tokens.len() >= ready.servers.len()
            && tokens.iter().all(|token| {
                ReadAccount::decode(token)
                    .is_ok_and(|read| read.tags().contains(&state.tag()) && read.iss == signer)
            });
        if is_current {
            return Ok(());
        }
        tracing::info!(%account, "a server has an outdated token of an account, or none; giving it the newest");
        self.publish_or_retire(ready, account, Push::Anyway).await
    }

    /// Compares all accounts and their streams with what the servers have. Gives them what they lack of tokens, and returns the
    /// accounts whose streams are not as they should be.
    async fn compare(&self, ready: &Ready) -> Result<BTreeSet<AccountId>, NatsError> {
        let store = &self.parts.store;
        let listed = ready.system.accounts(ready.servers.len()).await?;
        let listed: Vec<&str> = listed.iter().map(String::as_str).collect();
        // A server that was away, or a node that was suspended, may have brought a closed account back.
        for (account, public_key) in store.retired(&listed).await? {
            if let Err(error) = self.retire(ready, account, &public_key, Retire::Again).await {
                tracing::debug!(%account, %error, "a closed account could not be removed from NATS again");
            }
        }
        let epoch = self.parts.tenure.log().seen().get().epoch;
        let reported = ready.system.streams(ready.servers.len()).await?;
        let mut differing = BTreeSet::new();
        let mut after = AccountId::from_uuid(Uuid::nil());
        let (mut accounts, mut wanted) = (0_u32, 0_usize);
        loop {
            let page = store.accounts_after(after, PAGE).await?;
            let Some((last, _)) = page.last() else { break };
            after = *last;
            let comparing = page.into_iter().map(|(account, state)| {
                let found = reported.get(&state.public_key);
                async move { (account, self.compare_account(ready, account, &state, epoch, found).await) }
            });
            let mut compared = stream::iter(comparing).buffer_unordered(AT_ONCE);
            while let Some((account, outcome)) = compared.next().await {
                accounts += 1;
                match outcome {
                    Ok((streams, true)) => wanted += streams,
                    Ok((streams, false)) => {
                        wanted += streams;
                        differing.insert(account);
                    }
                    Err(error) => {
                        tracing::debug!(%account, %error, "an account could not be compared");
                        differing.insert(account);
                    }
                }
            }
        }
        // Those that are opened are announced; these were opened while nobody was listening.
        let mut after = AccountId::from_uuid(Uuid::nil());
        loop {
            let page = store.unprovisioned(after, PAGE).await?;
            let Some(last) = page.last() else { break };
            after = *last;
            differing.extend(page);
        }
        metrics::gauge!("tenure_nats_accounts").set(accounts);
        metrics::gauge!("tenure_nats_streams").set(u32::try_from(wanted).unwrap_or(u32::MAX));
        metrics::gauge!("tenure_nats_accounts_differing")
            .set(u32::try_from(differing.len()).unwrap_or(u32::MAX));
        Ok(differing)
    }

    /// How many streams an account should have, and whether they are as they should be. Its token is given again if a server lacks
    /// it.
    async fn compare_account(
        &self,
        ready: &Ready,
        account: AccountId,
        state: &AccountState,
        epoch: i64,
        found: Option<&BTreeMap<String, super::system::ReportedStream>>,
    ) -> Result<(usize, bool), NatsError> {
        if state.epoch == epoch {
            self.check_token(ready, account, state).await?;
        } else {
            // The log may have lost revocations: all users of the account are revoked once.
            self.publish_or_retire(ready, account, Push::IfChanged).await?;
        }
        let desired = streams::desired(&self.parts.tenure, account).await?;
        let none = BTreeMap::new();
        let replicas = self.parts.settings.replicas;
        Ok((desired.len(), streams::is_converged(&desired, found.unwrap_or(&none), replicas)))
    }
}

/// What came of taking or renewing the lease.
enum Renewed {
    /// It is this node's, and was not before.
    Taken,
    /// It still is.
    Kept,
    /// It is another node's, or nobody can tell.
    Lost,
}
