//! Opens and closes accounts, and changes their members and owner.

use std::sync::{Mutex, PoisonError};

use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};

use super::limits::{self, Counted, Limits};
use super::refusal::{Refusal, Resource};
use super::{Outcome, accounts_of, authority, invalid, users};
use crate::Tenure;
use crate::aggregates::account::{Account, AccountCommand, AccountName, NatsPublicKey, NatsSeed, Open};
use crate::context::Context;
use crate::dispatch::{DecideError, DispatchError, Failure, Operation, UnitOfWork};
use crate::ids::{AccountId, ApiKeyId, UserId};

/// The account if it is open, or `NotFound`.
pub(super) async fn open_account(
    work: &mut UnitOfWork<'_>,
    account: AccountId,
) -> Result<Open, DecideError<Refusal>> {
    let account = work.load::<Account>(account.as_uuid()).await?;
    account.open().cloned().ok_or(DecideError::Refused(Refusal::NotFound(Resource::Account)))
}

/// The most ended API keys that an answer lists by identifier.
pub const NAMED_KEYS: usize = 1_000;

/// The API keys that ended with a membership or with a forgotten user.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndedKeys {
    /// The number of keys, including those that `first` leaves out.
    pub count: u64,
    /// The oldest keys, at most [`NAMED_KEYS`].
    pub first: Vec<ApiKeyId>,
}

impl From<(u64, Vec<ApiKeyId>)> for EndedKeys {
    fn from((count, first): (u64, Vec<ApiKeyId>)) -> Self {
        Self { count, first }
    }
}

struct OpenAccount {
    id: AccountId,
    name: AccountName,
    owner: Option<UserId>,
    limits: Limits,
}

impl Operation for OpenAccount {
    type Answer = AccountId;
    type Refusal = Refusal;

    fn name(&self) -> &'static str {
        "open_account"
    }

    async fn decide(&self, work: &mut UnitOfWork<'_>) -> Result<AccountId, DecideError<Refusal>> {
        let owner = self.owner.unwrap_or(UserId::UNAUTHENTICATED);
        if authority::person(work) != Some(owner) {
            authority::require_operator(work).await?;
        }
        users::must_exist(work, owner).await?;
        limits::enforce_limit(work, Counted::Accounts(owner), &self.limits).await?;
        let command = AccountCommand::Open { name: self.name.clone(), owner, at: work.at() };
        work.create::<Account, _>(self.id.as_uuid(), command)?;
        // The owner's set of accounts changes, on which the limit, sign-in and forgetting decide.
        work.bump_guard(accounts_of(owner));
        Ok(self.id)
    }

    fn claim_lost(&self, _: &str, _: &str) -> Option<Refusal> {
        // The name is the only claim that an account takes.
        Some(Refusal::AccountNameTaken)
    }
}

struct AddMember {
    account: AccountId,
    user: UserId,
}

impl Operation for AddMember {
    type Answer = ();
    type Refusal = Refusal;

    fn name(&self) -> &'static str {
        "add_member"
    }

    async fn decide(&self, work: &mut UnitOfWork<'_>) -> Result<(), DecideError<Refusal>> {
        let account = open_account(work, self.account).await?;
        authority::require_owner(work, &account).await?;
        users::must_exist(work, self.user).await?;
        let command = AccountCommand::AddMember { user: self.user, at: work.at() };
        work.execute::<Account, Refusal>(self.account.as_uuid(), command).await?;
        work.bump_guard(accounts_of(self.user));
        Ok(())
    }
}

struct RemoveMember {
    account: AccountId,
    user: UserId,
    revoke_keys: bool,
}

impl Operation for RemoveMember {
    type Answer = EndedKeys;
    type Refusal = Refusal;

    fn name(&self) -> &'static str {
        if self.revoke_keys { "remove_member" } else { "remove_member_but_keep_keys" }
    }

    async fn decide(&self, work: &mut UnitOfWork<'_>) -> Result<EndedKeys, DecideError<Refusal>> {
        let account = open_account(work, self.account).await?;
        let leaving = authority::acting_person(work).await? == Some(self.user) && account.includes(self.user);
        // Members may leave on their own, but only with their keys: a kept key would be a way back in.
        if !leaving || !self.revoke_keys {
            authority::require_owner(work, &account).await?;
        }
        // A forgotten user is no member, although the account lists them until the membership is cleared away.
        if !users::is_known(work, Some(self.user)).await? {
            return Err(DecideError::Refused(Refusal::NotFound(Resource::Member)));
        }
        let mut keys = EndedKeys::default();
        if self.revoke_keys {
            let (account, user) = (self.account, self.user);
            // Before the query: a key minted after it must be a conflict, or the answer would miss it.
            work.depend_on_account(account).await?;
            let ended = work.reader().api_keys_minted_by(account, user, NAMED_KEYS).await;
            keys = ended.map_err(Failure::from)?.into();
        }
        let ends_keys = keys.count > 0;
        let command = AccountCommand::RemoveMember { user: self.user, ends_keys, at: work.at() };
        work.execute::<Account, Refusal>(self.account.as_uuid(), command).await?;
        work.bump_guard(accounts_of(self.user));
        Ok(keys)
    }
}

struct TransferOwnership {
    account: AccountId,
    to: UserId,
    limits: Limits,
}

impl Operation for TransferOwnership {
    type Answer = ();
    type Refusal = Refusal;

    fn name(&self) -> &'static str {
        "transfer_ownership"
    }

    async fn decide(&self, work: &mut UnitOfWork<'_>) -> Result<(), DecideError<Refusal>> {
        let account = open_account(work, self.account).await?;
        authority::require_owner(work, &account).await?;
        // A forgotten user is no member, although the account lists them until the membership is cleared away.
        if !users::is_known(work, Some(self.to)).await? {
            return Err(DecideError::Refused(Refusal::NotFound(Resource::Member)));
        }
        // A transfer to the present owner changes nothing, so the limit does not apply.
        if account.owner != self.to {
            limits::enforce_limit(work, Counted::Accounts(self.to), &self.limits).await?;
        }
        let command = AccountCommand::TransferOwnership { to: self.to, at: work.at() };
        work.execute::<Account, Refusal>(self.account.as_uuid(), command).await?;
        work.bump_guard(accounts_of(account.owner));
        work.bump_guard(accounts_of(self.to));
        Ok(())
    }
}

struct SetNatsAccount {
    account: AccountId,
    public_key: NatsPublicKey,
    signing_seed: NatsSeed,
}

impl Operation for SetNatsAccount {
    type Answer = ();
    type Refusal = Refusal;

    fn name(&self) -> &'static str {
        "set_nats_account"
    }

    async fn decide(&self, work: &mut UnitOfWork<'_>) -> Result<(), DecideError<Refusal>> {
        authority::require_operator(work).await?;
        let command = AccountCommand::SetNatsAccount {
            public_key: self.public_key.clone(),
            signing_seed: self.signing_seed.clone(),
            at: work.at(),
        };
        work.execute::<Account, Refusal>(self.account.as_uuid(), command).await?;
        Ok(())
    }
}

/// The keys of an account at NATS.
pub struct NatsAccountKeys {
    /// The public key of the account, which never changes.
    pub public_key: String,
    /// The seed of the key that signs credentials of its users; `None` if it cannot be read.
    pub signing_seed: Option<SecretString>,
    /// Whether they were set just now.
    pub is_new: bool,
}

/// Sets the keys of an account at NATS unless it has some, and finds those that it has then.
struct EnsureNatsAccount {
    account: AccountId,
    public_key: NatsPublicKey,
    signing_seed: NatsSeed,
    /// What was found. Not the answer, which holds no secrets.
    found: Mutex<Option<NatsAccountKeys>>,
}

impl Operation for EnsureNatsAccount {
    type Answer = ();
    type Refusal = Refusal;

    fn name(&self) -> &'static str {
        "ensure_nats_account"
    }

    async fn decide(&self, work: &mut UnitOfWork<'_>) -> Result<(), DecideError<Refusal>> {
        authority::require_operator(work).await?;
        let account = open_account(work, self.account).await?;
        let keys = if let Some(public_key) = &account.nats_public_key {
            let seed = account.nats_signing_seed.open().and_then(Option::as_ref);
            NatsAccountKeys {
                public_key: public_key.as_str().to_owned(),
                signing_seed: seed.map(|seed| seed.as_str().into()),
                is_new: false,
            }
        } else {
            let (public_key, signing_seed) = (self.public_key.clone(), self.signing_seed.clone());
            let found = NatsAccountKeys {
                public_key: public_key.as_str().to_owned(),
                signing_seed: Some(signing_seed.as_str().into()),
                is_new: true,
            };
            let command = AccountCommand::SetNatsAccount { public_key, signing_seed, at: work.at() };
            work.execute::<Account, Refusal>(self.account.as_uuid(), command).await?;
            found
        };
        *self.found.lock().unwrap_or_else(PoisonError::into_inner) = Some(keys);
        Ok(())
    }
}

struct CloseAccount {
    account: AccountId,
}

impl Operation for CloseAccount {
    type Answer = ();
    type Refusal = Refusal;

    fn name(&self) -> &'static str {
        "close_account"
    }

    async fn decide(&self, work: &mut UnitOfWork<'_>) -> Result<(), DecideError<Refusal>> {
        let account = open_account(work, self.account).await?;
        authority::require_owner(work, &account).await?;
        let command = AccountCommand::Close { at: work.at() };
        work.execute::<Account, Refusal>(self.account.as_uuid(), command).await?;
        work.bump_guard(accounts_of(account.owner));
        Ok(())
    }
}

impl Tenure {
    /// Opens an account. Without an owner it belongs to the seeded user; only operators may do that.
    ///
    /// # Errors
    /// `Invalid`, `AccountNameTaken`, `NotFound` (unknown owner), `LimitReached`, `Forbidden`.
    pub async fn open_account(
        &self,
        context: &Context,
        name: &str,
        owner: Option<UserId>,
    ) -> Outcome<AccountId> {
        let name = AccountName::parse(name).map_err(|invalid| DispatchError::Refused(invalid.into()))?;
        let limits = self.rules().limits;
        let operation = OpenAccount { id: self.new_id(AccountId::new), name, owner, limits };
        self.dispatcher().dispatch(context, &operation).await
    }

    /// Makes a user a member; no event if the user already belongs to the account.
    ///
    /// # Errors
    /// `NotFound`, `Forbidden`.
    pub async fn add_member(&self, context: &Context, account: AccountId, user: UserId) -> Outcome<()> {
        self.dispatcher().dispatch(context, &AddMember { account, user }).await
    }

    /// Ends a membership and all API keys that the user has minted in the account. Returns the number of ended keys and
    /// the first of them. Members may remove themselves.
    ///
    /// # Errors
    /// `CannotRemoveOwner`, `NotFound`, `Forbidden`.
    pub async fn remove_member(
        &self,
        context: &Context,
        account: AccountId,
        user: UserId,
    ) -> Outcome<EndedKeys> {
        let operation = RemoveMember { account, user, revoke_keys: true };
        self.dispatcher().dispatch(context, &operation).await
    }

    /// Ends a membership but keeps the API keys that the user has minted. For the owner and operators.
    ///
    /// # Errors
    /// `CannotRemoveOwner`, `NotFound`, `Forbidden`.
    pub async fn remove_member_but_keep_keys(
        &self,
        context: &Context,
        account: AccountId,
        user: UserId,
    ) -> Outcome<EndedKeys> {
        let operation = RemoveMember { account, user, revoke_keys: false };
        self.dispatcher().dispatch(context, &operation).await
    }

    /// Stores the account's NATS public key and, sealed, the seed that signs its users' credentials; for operators. No
    /// event if both are unchanged; another seed for the same public key replaces the first.
    ///
    /// # Errors
    /// `Invalid`, `NatsAccountMismatch`, `NotFound`, `Forbidden`.
    pub async fn set_nats_account(
        &self,
        context: &Context,
        account: AccountId,
        public_key: &str,
        signing_seed: &SecretString,
    ) -> Outcome<()> {
        let operation = SetNatsAccount {
            account,
            public_key: NatsPublicKey::parse(public_key).map_err(invalid)?,
            signing_seed: NatsSeed::parse(signing_seed.expose_secret()).map_err(invalid)?,
        };
        self.dispatcher().dispatch(context, &operation).await
    }

    /// The keys of an account at NATS. If it has none, these are set, once, however many nodes ask at the same moment; for
    /// operators and the system.
    ///
    /// # Errors
    /// `Invalid`, `NotFound`, `Forbidden`.
    pub async fn ensure_nats_account(
        &self,
        context: &Context,
        account: AccountId,
        public_key: &str,
        signing_seed: &SecretString,
    ) -> Result<NatsAccountKeys, DispatchError<Refusal>> {
        let operation = EnsureNatsAccount {
            account,
            public_key: NatsPublicKey::parse(public_key).map_err(invalid)?,
            signing_seed: NatsSeed::parse(signing_seed.expose_secret()).map_err(invalid)?,
            found: Mutex::default(),
        };
        self.dispatcher().dispatch(context, &operation).await?;
        let found = operation.found.into_inner().unwrap_or_else(PoisonError::into_inner);
        found.ok_or(DispatchError::Refused(Refusal::NotFound(Resource::Account)))
    }

    /// Makes a member the owner, and the owner a member.
    ///
    /// # Errors
    /// `NotFound`, `LimitReached` (of the new owner), `Forbidden`.
    pub async fn transfer_ownership(&self, context: &Context, account: AccountId, to: UserId) -> Outcome<()> {
        let limits = self.rules().limits;
        self.dispatcher().dispatch(context, &TransferOwnership { account, to, limits }).await
    }

    /// Closes an account, and with it its API keys, invites, sources and memberships, in one event of constant size.
    /// Its name becomes free and its sealed fields unreadable. Its remaining rows are cleared away later.
    ///
    /// # Errors
    /// `NotFound`, `Forbidden`.
    pub async fn close_account(&self, context: &Context, account: AccountId) -> Outcome<()> {
        self.dispatcher().dispatch(context, &CloseAccount { account }).await
    }
}
