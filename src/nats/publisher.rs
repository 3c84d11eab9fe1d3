//! Gives the tokens of accounts to the servers, and takes closed accounts from them.

use std::time::Duration;

use async_nats::jetstream::context::ContextBuilder;
use futures::TryStreamExt as _;
use nkeys::{KeyPair, KeyPairType};
use secrecy::{ExposeSecret as _, SecretString};

use super::claims::{
    ALL_USERS, Account, JetStreamLimits, RETIRED, ReadAccount, Registered, Revocations, deletion,
};
use super::error::NatsError;
use super::handle::{Nats, Ready};
use super::keys::{new_key, seconds, seed_of};
use super::lease::{Held, Unless};
use super::rights;
use super::settings::Pauses;
use super::store::{AccountState, Part};
use crate::aggregates::source::Retention;
use crate::context::{Actor, Context};
use crate::ids::AccountId;

/// How often a token is given to the servers until they have it.
const MOST_PUSHES: usize = 8;

/// How long an answer about streams may take.
const JETSTREAM_TIMEOUT: Duration = Duration::from_secs(4);

/// The keys of an account.
pub(super) struct AccountKeys {
    pub(super) public_key: String,
    pub(super) state: AccountState,
    /// None if its seed cannot be read. Revocations do not need it.
    signing_key: Option<KeyPair>,
}

impl AccountKeys {
    /// The key that signs the account's users.
    pub(super) fn signing_key(&self) -> Result<&KeyPair, NatsError> {
        self.signing_key.as_ref().ok_or(NatsError::UnreadableSeed)
    }
}

/// Whether a token is given to the servers although they are known to have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Push {
    /// Only if the state has changed since.
    IfChanged,
    /// In any case, because a server was seen to have another one.
    Anyway,
}

/// Whether a closed account is removed from the servers again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Retire {
    /// Only if that was not done before.
    Once,
    /// Because a server has it again.
    Again,
}

impl Nats {
    /// The keys of an open account, made if it has none.
    async fn keys_of(&self, account: AccountId) -> Result<AccountKeys, NatsError> {
        let (tenure, store) = (&self.parts.tenure, &self.parts.store);
        let entropy = tenure.entropy();
        // The identity seed of the account is needed for nothing: it is forgotten here.
        let public_key = new_key(KeyPairType::Account, &*entropy)?.public_key();
        let seed: SecretString = seed_of(&new_key(KeyPairType::Account, &*entropy)?)?.as_str().into();
        let context = Context::of(Actor::System);
        let keys = tenure.ensure_nats_account(&context, account, &public_key, &seed).await?;
        let signing_key = keys.signing_seed.and_then(|seed| KeyPair::from_seed(seed.expose_secret()).ok());
        let state = match &signing_key {
            Some(key) => {
                let now = (!keys.is_new).then(|| self.now());
                store.account(account, &keys.public_key, &key.public_key(), now).await?
            }
            None => store.account_by_key(&keys.public_key).await?.ok_or(NatsError::UnreadableSeed)?.1,
        };
        Ok(AccountKeys { public_key: keys.public_key, state, signing_key })
    }

    /// The keys of an account that the servers of this connection know. What its token says of revoked users may be under way: a
    /// new user does not depend on it.
    pub(super) async fn provisioned(
        &self,
        ready: &Ready,
        account: AccountId,
    ) -> Result<AccountKeys, NatsError> {
        let keys = self.keys_of(account).await?;
        if keys.state.pushed == 0 {
            self.publish(ready, account, Push::IfChanged).await?;
        } else if !self.is_confirmed(ready, account) && !self.is_known(ready, &keys.state).await? {
            self.publish(ready, account, Push::Anyway).await?;
        }
        self.confirm(ready, account);
        Ok(keys)
    }

    /// Whether every server has a token of this account with its present keys.
    async fn is_known(&self, ready: &Ready, state: &AccountState) -> Result<bool, NatsError> {
        let tokens = ready.system.tokens(&state.public_key, ready.servers.len()).await?;
        let epoch = format!("tenure:{}-", state.epoch);
        Ok(tokens.len() >= ready.servers.len()
            && tokens.iter().all(|token| {
                ReadAccount::decode(token)
                    .is_ok_and(|read| read.tags().iter().any(|tag| tag.starts_with(&epoch)))
            }))
    }

    /// Gives an account's token to the servers, if they do not have it yet.
    pub(super) async fn publish(
        &self,
        ready: &Ready,
        account: AccountId,
        push: Push,
    ) -> Result<(), NatsError> {
        let keys = self.keys_of(account).await?;
        let unless = if push == Push::IfChanged { Unless::Pushed } else { Unless::Never };
        let Some(mut held) = self.hold(account, Part::Token, unless).await? else { return Ok(()) };
        let pushed = self.push_until_current(ready, account, &keys, push, &mut held).await;
        self.give_back(held, pushed.as_ref().err()).await;
        pushed
    }

    async fn push_until_current(
        &self,
        ready: &Ready,
        account: AccountId,
        keys: &AccountKeys,
        push: Push,
        held: &mut Held,
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
            let token = self.account_token(ready, account, &state, &revocations, state.tag())?;
            Pauses::at(self.parts.settings.pauses.before_push.as_ref()).await;
            // A node that was suspended must not go on with what it read before.
            if !self.parts.settings.pauses.outlives_leases && !self.keep(held).await? {
                continue;
            }
            ready.system.push(&token, &ready.servers).await?;
            let there = ready.system.tokens(&state.public_key, ready.servers.len()).await?;
            if there.len() < ready.servers.len() || there.iter().any(|found| *found != token) {
                must = true;
                continue;
            }
            if state.pushed == 0 && keys.state.signing_key == state.signing_key {
                self.verify(account, keys, state.revoked_before).await?;
            }
            must = false;
            if store.note_pushed(account, &state).await? {
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
        state: &AccountState,
        revocations: &Revocations,
        tag: String,
    ) -> Result<String, NatsError> {
        let registered = Registered {
            name: &account.to_string(),
            subject: &state.public_key,
            issued_at: self.now(),
            ..Registered::default()
        };
        let streams = self.parts.settings.streams_per_account;
        let token = Account {
            signing_key: &state.signing_key,
            storage: Some(JetStreamLimits::of_streams(streams, Retention::MAX_BYTES)),
            revocations,
            tags: &[tag],
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
    pub(super) async fn manage(
        &self,
        account: AccountId,
        keys: &AccountKeys,
        revoked_before: i64,
    ) -> Result<async_nats::jetstream::Context, NatsError> {
        let tenure = &self.parts.tenure;
        let (url, now, entropy) = (&self.parts.settings.url, tenure.clock().now(), tenure.entropy());
        let issued_at = seconds(now).max(revoked_before + 1);
        let of = (account, keys.public_key.as_str(), keys.signing_key()?);
        let client = rights::manager(url, of, issued_at, now, &*entropy).await?;
        Ok(ContextBuilder::new().timeout(JETSTREAM_TIMEOUT).build(client))
    }

    /// Removes a closed account from the servers, with its streams and their messages.
    pub(super) async fn retire(
        &self,
        ready: &Ready,
        account: AccountId,
        public_key: &str,
        retire: Retire,
    ) -> Result<(), NatsError> {
        let Some(mut held) = self.hold(account, Part::Token, Unless::Never).await? else { return Ok(()) };
        // Another node may have done it meanwhile.
        let is_done = retire == Retire::Once && self.parts.store.closed_account(account).await?.is_none();
        let retired =
            if is_done { Ok(()) } else { self.retire_held(ready, account, public_key, &mut held).await };
        self.give_back(held, retired.as_ref().err()).await;
        retired
    }

    async fn retire_held(
        &self,
        ready: &Ready,
        account: AccountId,
        public_key: &str,
        held: &mut Held,
    ) -> Result<(), NatsError> {
        let (now, entropy) = (self.now(), self.parts.tenure.entropy());
        let Some((mut state, _)) = self.parts.store.claims(account, now).await? else { return Ok(()) };
        // The account's own signing seed went with its data key: one of this moment takes its place, and all users are out.
        let signing_key = new_key(KeyPairType::Account, &*entropy)?;
        state.signing_key = signing_key.public_key();
        let all = now.max(state.revoked_before);
        let revocations = Revocations::from([(ALL_USERS.to_owned(), all)]);
        let token = self.account_token(ready, account, &state, &revocations, RETIRED.to_owned())?;
        self.keep(held).await?;
        ready.system.push(&token, &ready.servers).await?;
        let keys = AccountKeys { public_key: public_key.to_owned(), signing_key: Some(signing_key), state };
        let jetstream = self.manage(account, &keys, all).await?;
        let failed = |error: &dyn std::fmt::Display| NatsError::JetStream(error.to_string());
        // All names first: the list is paged by its length, which deleting shortens.
        let names: Vec<String> =
            jetstream.stream_names().try_collect().await.map_err(|error| failed(&error))?;
        for name in names {
            self.keep(held).await?;
            jetstream.delete_stream(&name).await.map_err(|error| failed(&error))?;
        }
        let request = deletion(&[public_key], now, &ready.operator.signing_key()?)?;
        ready.system.delete(&request, ready.servers.len()).await?;
        self.parts.store.note_retired(account).await?;
        tracing::info!(%account, "a closed account is gone from NATS");
        Ok(())
    }
}
