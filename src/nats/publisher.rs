//! Gives the tokens of accounts to the servers, and makes their streams: one node at a time for each account.

use std::time::Duration;

use async_nats::jetstream::context::ContextBuilder;
use nkeys::{KeyPair, KeyPairType};
use secrecy::{ExposeSecret as _, SecretString};

use super::claims::{ALL_USERS, Account, JetStreamLimits, Registered, Revocations, deletion};
use super::error::NatsError;
use super::handle::{Nats, Ready};
use super::keys::{new_key, seconds, seed_of};
use super::rights;
use super::settings::Pauses;
use super::store::{AccountState, LEASE_SECONDS};
use super::streams::{self, Converged};
use crate::aggregates::source::Retention;
use crate::clock::Stopwatch;
use crate::context::{Actor, Context};
use crate::ids::AccountId;

/// How long to wait for another node that is changing an account: longer than its lease.
const HELD_TIMEOUT: Duration = Duration::from_secs(6);

/// The pause between two tries to take the lease.
const HELD_PAUSE: Duration = Duration::from_millis(20);

/// How often a token is given to the servers until they have it.
const MOST_PUSHES: usize = 8;

/// How long a streams' answer may take.
const JETSTREAM_TIMEOUT: Duration = Duration::from_secs(4);

/// The keys of an account.
pub(super) struct AccountKeys {
    pub(super) public_key: String,
    pub(super) signing_key: KeyPair,
    pub(super) state: AccountState,
}

/// Whether a token is given to the servers although they are known to have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Push {
    /// Only if the state has changed since.
    IfChanged,
    /// In any case, because a server was seen to have another one.
    Anyway,
}

impl Nats {
    /// The keys of an open account, made if it has none.
    pub(super) async fn keys_of(&self, account: AccountId) -> Result<AccountKeys, NatsError> {
        let tenure = &self.parts.tenure;
        let entropy = tenure.entropy();
        // The identity seed of the account is needed for nothing: it is forgotten here.
        let public_key = new_key(KeyPairType::Account, &*entropy)?.public_key();
        let seed: SecretString = seed_of(&new_key(KeyPairType::Account, &*entropy)?)?.as_str().into();
        let context = Context::of(Actor::System);
        let keys = tenure.ensure_nats_account(&context, account, &public_key, &seed).await?;
        let seed = keys.signing_seed.ok_or(NatsError::UnreadableSeed)?;
        let signing_key = KeyPair::from_seed(seed.expose_secret()).map_err(|_| NatsError::UnreadableSeed)?;
        let public = signing_key.public_key();
        let state = self.parts.store.account(account, &keys.public_key, &public, self.now()).await?;
        Ok(AccountKeys { public_key: keys.public_key, signing_key, state })
    }

    /// The keys of an account that the servers know. What its token says of revoked users may be under way: a new user does not
    /// depend on it.
    pub(super) async fn provisioned(
        &self,
        ready: &Ready,
        account: AccountId,
    ) -> Result<AccountKeys, NatsError> {
        let keys = self.keys_of(account).await?;
        if keys.state.pushed > 0 { Ok(keys) } else { self.publish(ready, account, Push::IfChanged).await }
    }

    /// Gives an account's token to the servers, if they do not have it yet, and returns its keys.
    pub(super) async fn publish(
        &self,
        ready: &Ready,
        account: AccountId,
        push: Push,
    ) -> Result<AccountKeys, NatsError> {
        let keys = self.keys_of(account).await?;
        if push == Push::IfChanged && keys.state.pushed >= keys.state.revision {
            return Ok(keys);
        }
        let lock = self.lock_of(account);
        let _one = lock.lock().await;
        // Whoever was before may have given it too.
        let Some(held) = self.hold_unless_pushed(account, push).await? else { return Ok(keys) };
        let pushed = self.push_until_current(ready, account, &keys, push, held).await;
        self.give_back(account, pushed.as_ref().err()).await;
        pushed?;
        Ok(keys)
    }

    /// Takes the lease on an account, which another node may have.
    async fn hold(&self, account: AccountId) -> Result<Stopwatch, NatsError> {
        // With this it is never done before.
        self.hold_unless_pushed(account, Push::Anyway).await?.ok_or(NatsError::Held)
    }

    /// The same; none if the account's token has been given meanwhile, and need not be given anyway.
    async fn hold_unless_pushed(
        &self,
        account: AccountId,
        push: Push,
    ) -> Result<Option<Stopwatch>, NatsError> {
        let waited = Stopwatch::start();
        loop {
            if push == Push::IfChanged && self.parts.store.is_pushed(account).await? {
                return Ok(None);
            }
            let asked = Stopwatch::start();
            if self.parts.store.hold(account, self.parts.tenure.node()).await? {
                return Ok(Some(asked));
            }
            if waited.elapsed() > HELD_TIMEOUT {
                return Err(NatsError::Held);
            }
            tokio::time::sleep(HELD_PAUSE).await;
        }
    }

    /// Gives the lease back, and notes why the change failed.
    async fn give_back(&self, account: AccountId, failure: Option<&NatsError>) {
        if let Some(error) = failure.filter(|error| !error.passes()) {
            tracing::warn!(%account, %error, "an account cannot be changed at NATS; it is tried again");
            if let Err(error) = self.parts.store.note_failure(account, &error.to_string()).await {
                tracing::debug!(%error, "the failure of a NATS account could not be stored");
            }
        }
        if let Err(error) = self.parts.store.release(account, self.parts.tenure.node()).await {
            tracing::debug!(%error, "the lease on a NATS account could not be given back; it ends by itself");
        }
    }

    /// Renews the lease if much of it has passed: a node that was suspended must not go on with what it read before.
    async fn keep_holding(&self, account: AccountId, held: &mut Stopwatch) -> Result<bool, NatsError> {
        if held.elapsed().as_secs_f64() < LEASE_SECONDS / 2.0 {
            return Ok(true);
        }
        *held = self.hold(account).await?;
        Ok(false)
    }

    async fn push_until_current(
        &self,
        ready: &Ready,
        account: AccountId,
        keys: &AccountKeys,
        push: Push,
        mut held: Stopwatch,
    ) -> Result<(), NatsError> {
        let store = &self.parts.store;
        let mut must = push == Push::Anyway;
        for _ in 0..MOST_PUSHES {
            let Some((state, revocations)) = store.claims(account, self.now()).await? else {
                return Err(NatsError::NoAccount);
            };
            if !must && state.pushed >= state.revision {
                return Ok(());
            }
            let token =
                self.account_token(ready, account, &keys.signing_key.public_key(), &state, &revocations)?;
            Pauses::at(self.parts.settings.pauses.before_push.as_ref()).await;
            if !self.parts.settings.pauses.outlives_leases && !self.keep_holding(account, &mut held).await? {
                continue;
            }
            ready.system.push(&token, &ready.servers).await?;
            let there = ready.system.tokens(&state.public_key, ready.servers.len()).await?;
            if there.len() < ready.servers.len() || there.iter().any(|found| *found != token) {
                must = true;
                continue;
            }
            if state.pushed == 0 {
                self.verify(account, keys, state.revoked_before).await?;
            }
            must = false;
            if store.note_pushed(account, state.revision).await? == state.revision {
                return Ok(());
            }
        }
        Err(NatsError::Silent("the servers do not keep an account's token"))
    }

    /// The token of an account. It names nobody, and carries the revision of what it says.
    fn account_token(
        &self,
        ready: &Ready,
        account: AccountId,
        signing_key: &str,
        state: &AccountState,
        revocations: &Revocations,
    ) -> Result<String, NatsError> {
        let registered = Registered {
            name: &account.to_string(),
            subject: &state.public_key,
            issued_at: self.now(),
            ..Registered::default()
        };
        let streams = self.parts.settings.streams_per_account;
        let token = Account {
            signing_key,
            storage: Some(JetStreamLimits::of_streams(streams, Retention::MAX_BYTES)),
            revocations,
            tags: &[state.tag()],
        };
        Ok(token.encode(&registered, &ready.operator.signing_key()?)?)
    }

    /// Connects as a user of the account, and asks for its storage: servers take tokens that they do not use, and an account may
    /// be without `JetStream`.
    async fn verify(
        &self,
        account: AccountId,
        keys: &AccountKeys,
        revoked_before: i64,
    ) -> Result<(), NatsError> {
        let jetstream = self.manage(account, keys, revoked_before).await?;
        jetstream.query_account().await.map_err(|error| NatsError::Unusable(error.to_string()))?;
        Ok(())
    }

    /// A short connection that may change an account's streams.
    async fn manage(
        &self,
        account: AccountId,
        keys: &AccountKeys,
        revoked_before: i64,
    ) -> Result<async_nats::jetstream::Context, NatsError> {
        let tenure = &self.parts.tenure;
        let (url, now, entropy) = (&self.parts.settings.url, tenure.clock().now(), tenure.entropy());
        let issued_at = seconds(now).max(revoked_before + 1);
        let of = (account, keys.public_key.as_str(), &keys.signing_key);
        let client = rights::manager(url, of, issued_at, now, &*entropy).await?;
        Ok(ContextBuilder::new().timeout(JETSTREAM_TIMEOUT).build(client))
    }

    /// Makes the streams of an account what they should be, and notes those that could not be.
    pub(super) async fn converge(&self, ready: &Ready, account: AccountId) -> Result<Converged, NatsError> {
        let keys = self.provisioned(ready, account).await?;
        let lock = self.lock_of(account);
        let _one = lock.lock().await;
        self.hold(account).await?;
        let converged = self.converge_held(account, &keys).await;
        self.give_back(account, converged.as_ref().err()).await;
        converged
    }

    async fn converge_held(&self, account: AccountId, keys: &AccountKeys) -> Result<Converged, NatsError> {
        let tenure = &self.parts.tenure;
        // Read while the lease is held, so that no older wish overtakes a newer one.
        let desired = streams::desired(tenure, account).await?;
        let jetstream = self.manage(account, keys, keys.state.revoked_before).await?;
        let done = streams::converge(tenure, &jetstream, &desired, self.parts.settings.replicas).await?;
        self.parts.store.note_streams(account, &done.failed).await?;
        for (stream, reason) in &done.failed {
            tracing::warn!(%account, stream, reason, "a stream is not as it should be; it is tried again");
        }
        Ok(done)
    }

    /// Removes a closed account from the servers, with its streams and their messages.
    pub(super) async fn retire(
        &self,
        ready: &Ready,
        account: AccountId,
        public_key: &str,
    ) -> Result<(), NatsError> {
        let lock = self.lock_of(account);
        let _one = lock.lock().await;
        let held = self.hold(account).await?;
        let retired = self.retire_held(ready, account, public_key, held).await;
        self.give_back(account, retired.as_ref().err()).await;
        retired
    }

    async fn retire_held(
        &self,
        ready: &Ready,
        account: AccountId,
        public_key: &str,
        mut held: Stopwatch,
    ) -> Result<(), NatsError> {
        use futures::TryStreamExt as _;
        let tenure = &self.parts.tenure;
        let (now, entropy) = (self.now(), tenure.entropy());
        // The account's own signing seed went with its data key: one of this moment takes its place, and all users are out.
        let signing_key = new_key(KeyPairType::Account, &*entropy)?;
        let Some((state, _)) = self.parts.store.claims(account, now).await? else { return Ok(()) };
        let revocations = Revocations::from([(ALL_USERS.to_owned(), now)]);
        let token = self.account_token(ready, account, &signing_key.public_key(), &state, &revocations)?;
        self.keep_holding(account, &mut held).await?;
        ready.system.push(&token, &ready.servers).await?;
        let keys = AccountKeys { public_key: public_key.to_owned(), signing_key, state };
        let jetstream = self.manage(account, &keys, now).await?;
        let failed = |error: &dyn std::fmt::Display| NatsError::JetStream(error.to_string());
        let mut names = jetstream.stream_names();
        while let Some(name) = names.try_next().await.map_err(|error| failed(&error))? {
            jetstream.delete_stream(&name).await.map_err(|error| failed(&error))?;
        }
        let request = deletion(&[public_key], now, &ready.operator.signing_key()?)?;
        ready.system.delete(&request, ready.servers.len()).await?;
        self.parts.store.forget_account(account).await?;
        tracing::info!(%account, "a closed account is gone from NATS");
        Ok(())
    }
}
