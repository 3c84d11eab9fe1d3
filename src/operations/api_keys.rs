//! Mints, imports, rotates, revokes and looks up API keys, which act for an account.

use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};

use super::limits::{self, Counted, Limits};
use super::refusal::{Refusal, Resource};
use super::{Outcome, accounts, authority, invalid, users};
use crate::Tenure;
use crate::aggregates::api_key::{ApiKey, ApiKeyCommand, KeyHash, KeyPrefix, Label, NewApiKey};
use crate::aggregates::field::Invalid;
use crate::clock::Timestamp;
use crate::context::Context;
use crate::credentials::api_key::{StoredHash, generate_plaintext, key_prefix, salt};
use crate::dispatch::{DecideError, DispatchError, Dispatched, Failure, Operation, UnitOfWork};
use crate::event_log::ReadError;
use crate::ids::{AccountId, ApiKeyId, UserId};
use crate::projections::{QueryError, api_keys};

/// The longest grace period during which the former secret of a rotated key stays valid: 30 days.
pub const MAX_GRACE: Duration = Duration::from_hours(24 * 30);

/// A new key or a new secret of a key, with the secret in clear.
#[derive(Debug)]
pub struct ApiKeySecret {
    /// The identifier of the key.
    pub id: ApiKeyId,
    /// The secret to send as credential, returned only once; `None` if the idempotency key repeats an earlier request.
    pub plaintext: Option<SecretString>,
}

/// A new secret, its prefix and its hash.
struct GeneratedSecret {
    plaintext: SecretString,
    prefix: KeyPrefix,
    hash: KeyHash,
}

struct MintApiKey {
    id: ApiKeyId,
    account: AccountId,
    by: Option<UserId>,
    prefix: KeyPrefix,
    hash: KeyHash,
    label: Label,
    expires_at: Option<Timestamp>,
    limits: Limits,
}

impl Operation for MintApiKey {
    type Answer = ApiKeyId;
    type Refusal = Refusal;

    fn name(&self) -> &'static str {
        "mint_api_key"
    }

    async fn decide(&self, work: &mut UnitOfWork<'_>) -> Result<ApiKeyId, DecideError<Refusal>> {
        let account = accounts::open_account(work, self.account).await?;
        authority::require_owner(work, &account).await?;
        let minter = match authority::person(work) {
            // An operator outside the account mints on behalf of its owner, unless another user is named.
            Some(person) if !account.includes(person) => self.by.unwrap_or(account.owner),
            person => authority::created_by(person, self.by).map_err(DecideError::Refused)?,
        };
        users::must_exist(work, minter).await?;
        if !account.includes(minter) {
            return Err(DecideError::Refused(Refusal::NotFound(Resource::Member)));
        }
        limits::enforce_limit(work, Counted::Keys(self.account), &self.limits).await?;
        let command = ApiKeyCommand::Mint(NewApiKey {
            account: self.account,
            minter,
            // The key ends when this count rises; see `authority::is_good`.
            removals: account.removals_of(minter),
            prefix: self.prefix.clone(),
            hash: self.hash.clone(),
            label: self.label.clone(),
            at: work.at(),
            expires_at: self.expires_at,
        });
        work.create::<ApiKey, _>(self.id.as_uuid(), command)?;
        Ok(self.id)
    }
}

/// Whether the key is active, that is, neither revoked nor ended with a membership. `NotFound` if the key is unknown or
/// belongs to another account than `account`; refused if the caller may not manage it.
async fn owned(
    work: &mut UnitOfWork<'_>,
    account: Option<AccountId>,
    key: ApiKeyId,
) -> Result<bool, DecideError<Refusal>> {
    let state = work.load::<ApiKey>(key.as_uuid()).await?;
    let not_found = || DecideError::Refused(Refusal::NotFound(Resource::ApiKey));
    // Compare the account before authorizing: a key of another account must look unknown.
    let of = state.account().ok_or_else(not_found)?;
    if account.is_some_and(|account| account != of) {
        return Err(not_found());
    }
    let account = accounts::open_account(work, of).await?;
    authority::require_owner(work, &account).await?;
    match &*state {
        ApiKey::Active(key) => authority::is_good(work, &account, key).await,
        ApiKey::Unknown | ApiKey::Revoked { .. } => Ok(false),
    }
}

struct RevokeApiKey {
    account: Option<AccountId>,
    key: ApiKeyId,
}

impl Operation for RevokeApiKey {
    type Answer = ();
    type Refusal = Refusal;

    fn name(&self) -> &'static str {
        "revoke_api_key"
    }

    async fn decide(&self, work: &mut UnitOfWork<'_>) -> Result<(), DecideError<Refusal>> {
        // A key that has ended already counts as revoked: success without an event.
        if owned(work, self.account, self.key).await? {
            let command = ApiKeyCommand::Revoke { at: work.at() };
            work.execute::<ApiKey, Refusal>(self.key.as_uuid(), command).await?;
        }
        Ok(())
    }
}

struct RotateApiKey {
    account: Option<AccountId>,
    key: ApiKeyId,
    prefix: KeyPrefix,
    hash: KeyHash,
    grace: Duration,
}

impl Operation for RotateApiKey {
    type Answer = ApiKeyId;
    type Refusal = Refusal;

    fn name(&self) -> &'static str {
        "rotate_api_key"
    }

    async fn decide(&self, work: &mut UnitOfWork<'_>) -> Result<ApiKeyId, DecideError<Refusal>> {
        if !owned(work, self.account, self.key).await? {
            return Err(DecideError::Refused(Refusal::NotFound(Resource::ApiKey)));
        }
        let at = work.at();
        let command = ApiKeyCommand::Rotate {
            prefix: self.prefix.clone(),
            hash: self.hash.clone(),
            former_until: at.after(self.grace),
            at,
        };
        work.execute::<ApiKey, Refusal>(self.key.as_uuid(), command).await?;
        Ok(self.key)
    }
}

impl Tenure {
    async fn fresh_secret(&self) -> Result<GeneratedSecret, DispatchError<Refusal>> {
        let entropy = self.entropy();
        let plaintext = generate_plaintext(&self.rules().sentinel, &*entropy);
        let prefix = key_prefix(plaintext.expose_secret());
        // Hash before the decision: argon2 is slow, and a retried decision must not hash again.
        let hash = self.argon2().hash(plaintext.clone(), salt(&*entropy)).await;
        let hash = hash.map_err(|_| DispatchError::Refused(Refusal::Busy))?;
        Ok(GeneratedSecret { plaintext, prefix, hash: KeyHash::parse(&hash).map_err(invalid)? })
    }

    /// Mints a key of an account and returns its secret, which is shown only once. For the owner; an operator on the
    /// database names the minter in `by`, who must be the owner or a member.
    ///
    /// # Errors
    /// `Invalid`, `NotFound`, `LimitReached`, `Forbidden`, `Busy` (the hashing queue is full).
    pub async fn mint_api_key(
        &self,
        context: &Context,
        account: AccountId,
        label: &str,
        expires_at: Option<Timestamp>,
        by: Option<UserId>,
    ) -> Outcome<ApiKeySecret> {
        let label = Label::parse(label).map_err(invalid)?;
        if expires_at.is_some_and(|end| end <= self.clock().now()) {
            return Err(invalid(Invalid { field: "expires_at", rule: "a time in the future" }));
        }
        let fresh = self.fresh_secret().await?;
        let operation = MintApiKey {
            id: self.new_id(ApiKeyId::new),
            account,
            by,
            prefix: fresh.prefix,
            hash: fresh.hash,
            label,
            expires_at,
            limits: self.rules().limits,
        };
        let done = self.dispatcher().dispatch(context, &operation).await?;
        Ok(with_secret(done, fresh.plaintext))
    }

    /// Imports a key from another system by its public prefix and PHC string. Otherwise as [`Tenure::mint_api_key`].
    ///
    /// # Errors
    /// `Invalid` (also for a hash that cannot be verified here), `NotFound`, `LimitReached`, `Forbidden`.
    pub async fn import_api_key(
        &self,
        context: &Context,
        account: AccountId,
        prefix: KeyPrefix,
        hash: &str,
        label: &str,
        by: UserId,
    ) -> Outcome<ApiKeyId> {
        // The cost is bounded because every look-up of this prefix would pay for it.
        if StoredHash::parse(hash).is_none() {
            let rule = "an argon2id PHC string, v=19, m at most 262144, t and p at most 16";
            return Err(invalid(Invalid { field: "key_hash", rule }));
        }
        let operation = MintApiKey {
            id: self.new_id(ApiKeyId::new),
            account,
            by: Some(by),
            prefix,
            hash: KeyHash::parse(hash).map_err(invalid)?,
            label: Label::parse(label).map_err(invalid)?,
            expires_at: None,
            limits: self.rules().limits,
        };
        self.dispatcher().dispatch(context, &operation).await
    }

    /// Gives a key a new secret. The former secret stays valid for `grace`, at most [`MAX_GRACE`].
    ///
    /// # Errors
    /// `Invalid`, `NotFound` (unknown, revoked, expired, or of another account), `Forbidden`, `Busy`.
    pub async fn rotate_api_key(
        &self,
        context: &Context,
        account: Option<AccountId>,
        key: ApiKeyId,
        grace: Duration,
    ) -> Outcome<ApiKeySecret> {
        if grace > MAX_GRACE {
            return Err(invalid(Invalid { field: "grace", rule: "at most 30 days" }));
        }
        let fresh = self.fresh_secret().await?;
        let operation = RotateApiKey { account, key, prefix: fresh.prefix, hash: fresh.hash, grace };
        let done = self.dispatcher().dispatch(context, &operation).await?;
        Ok(with_secret(done, fresh.plaintext))
    }

    /// Revokes a key together with its former secret; no event if it is revoked already. If `account` is given, a key
    /// of another account is `NotFound`.
    ///
    /// # Errors
    /// `NotFound`, `Forbidden`.
    pub async fn revoke_api_key(
        &self,
        context: &Context,
        account: Option<AccountId>,
        key: ApiKeyId,
    ) -> Outcome<()> {
        self.dispatcher().dispatch(context, &RevokeApiKey { account, key }).await
    }

    /// The key that this secret belongs to. Read from the primary on every call, so that no node accepts a key after
    /// its revocation was acknowledged.
    ///
    /// # Errors
    /// `NotFound` if the secret is malformed or its key is unknown, expired or revoked; `Busy`; `Failed` if the
    /// database cannot be read.
    pub async fn lookup_api_key(
        &self,
        plaintext: &SecretString,
    ) -> Result<api_keys::ApiKey, DispatchError<Refusal>> {
        let unknown = DispatchError::Refused(Refusal::NotFound(Resource::ApiKey));
        let text = plaintext.expose_secret();
        // Reject malformed secrets before they cost a query and a hash.
        let well_formed = text.strip_prefix(&self.rules().sentinel).is_some_and(|rest| rest.starts_with('_'))
            && text.len() <= 256
            && text.bytes().all(|octet| octet.is_ascii_graphic());
        if !well_formed {
            return Err(unknown);
        }
        let (prefix, now) = (key_prefix(text), self.clock().now());
        let candidates = self.reader().api_key_candidates(&prefix, now).await.map_err(unavailable)?;
        // Prefixes are short, so several keys can share one; only the hash decides.
        for candidate in candidates {
            let matches = self.argon2().verify(&prefix, plaintext.clone(), &candidate.hash).await;
            if matches.map_err(|_| DispatchError::Refused(Refusal::Busy))? {
                let key = candidate.key;
                self.record_use(key.id.as_uuid(), key.last_used_at, now).await;
                return Ok(key);
            }
        }
        Err(unknown)
    }

    /// Records when a secret was last used. A failure is only logged: it is no reason to reject the secret.
    pub(super) async fn record_use(&self, id: uuid::Uuid, last: Option<Timestamp>, now: Timestamp) {
        if let Err(error) = self.coarse().record_use(id, last, now).await {
            tracing::warn!(%id, %error, "could not record the last use of a secret");
        }
    }
}

fn with_secret(done: Dispatched<ApiKeyId>, plaintext: SecretString) -> Dispatched<ApiKeySecret> {
    let plaintext = (!done.repeated).then_some(plaintext);
    done.map(|id| ApiKeySecret { id, plaintext })
}

/// Turns a failed query into a failed operation.
pub(super) fn unavailable(error: QueryError) -> DispatchError<Refusal> {
    DispatchError::Failed(match error {
        QueryError::Unavailable(error) => Failure::Read(error),
        QueryError::NotFound => Failure::Read(ReadError::Unavailable("a row is missing".into())),
    })
}
