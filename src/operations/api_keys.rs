//! Keys that act for an account: minted, rotated, revoked, looked up.

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

/// The longest time for which a rotated secret may stay good.
pub const MAX_GRACE: Duration = Duration::from_hours(24 * 30);

/// A key and, this once, its secret; none for a request that had been carried out before.
#[derive(Debug)]
pub struct ApiKeySecret {
    /// The key.
    pub id: ApiKeyId,
    /// What to send.
    pub plaintext: Option<SecretString>,
}

/// A fresh secret, hashed.
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
            // Who runs the instance and does not belong to the account mints for its owner, if for nobody else.
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

/// Whether the key, if it is this account's (where one is named) and the caller the owner of its account, has not ended
/// with a membership.
async fn owned(
    work: &mut UnitOfWork<'_>,
    account: Option<AccountId>,
    key: ApiKeyId,
) -> Result<bool, DecideError<Refusal>> {
    let state = work.load::<ApiKey>(key.as_uuid()).await?;
    let not_found = || DecideError::Refused(Refusal::NotFound(Resource::ApiKey));
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
        let hash = self.argon2().hash(plaintext.clone(), salt(&*entropy)).await;
        let hash = hash.map_err(|_| DispatchError::Refused(Refusal::Busy))?;
        Ok(GeneratedSecret { plaintext, prefix, hash: KeyHash::parse(&hash).map_err(invalid)? })
    }

    /// Makes a key of an account and gives its secret, this once. For the owner; whoever acts on the database says who
    /// mints it, the owner or a member.
    ///
    /// # Errors
    /// `Invalid`, `NotFound`, `Forbidden`, `Busy` (too much is being hashed).
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
            return Err(invalid(Invalid { field: "expires_at", rule: "a time that is yet to come" }));
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

    /// Takes over a key that was made elsewhere: its public prefix and the PHC string that it is kept as. As
    /// [`Tenure::mint_api_key`] otherwise; for operators.
    ///
    /// # Errors
    /// `Invalid` (also for a hash that no secret could be verified with), `NotFound`, `Forbidden`.
    pub async fn import_api_key(
        &self,
        context: &Context,
        account: AccountId,
        prefix: KeyPrefix,
        hash: &str,
        label: &str,
        by: UserId,
    ) -> Outcome<ApiKeyId> {
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

    /// Gives a key another secret; the former one stays good for the grace, at most [`MAX_GRACE`].
    ///
    /// # Errors
    /// `Invalid`, `NotFound` (unknown, revoked, expired, another account's), `Forbidden`, `Busy`.
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

    /// Makes a key good for nothing, its former secret too; no event if it is so already. Another account's is not found
    /// if an account is named.
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

    /// The key behind a plaintext: read from the primary for each call, so that one whose revocation was acknowledged
    /// before is never accepted, on any node.
    ///
    /// # Errors
    /// `NotFound` for what is unknown, malformed, expired or revoked; `Busy`; a database that cannot be read.
    pub async fn lookup_api_key(
        &self,
        plaintext: &SecretString,
    ) -> Result<api_keys::ApiKey, DispatchError<Refusal>> {
        let unknown = DispatchError::Refused(Refusal::NotFound(Resource::ApiKey));
        let text = plaintext.expose_secret();
        let well_formed = text.strip_prefix(&self.rules().sentinel).is_some_and(|rest| rest.starts_with('_'))
            && text.len() <= 256
            && text.bytes().all(|octet| octet.is_ascii_graphic());
        if !well_formed {
            return Err(unknown);
        }
        let (prefix, now) = (key_prefix(text), self.clock().now());
        let candidates = self.reader().api_key_candidates(&prefix, now).await.map_err(unavailable)?;
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

    /// Writes down that a secret was used; that it cannot be written down is no reason to refuse the secret.
    pub(super) async fn record_use(&self, id: uuid::Uuid, last: Option<Timestamp>, now: Timestamp) {
        if let Err(error) = self.coarse().record_use(id, last, now).await {
            tracing::warn!(%id, %error, "the use of a secret could not be written down");
        }
    }
}

fn with_secret(done: Dispatched<ApiKeyId>, plaintext: SecretString) -> Dispatched<ApiKeySecret> {
    let plaintext = (!done.repeated).then_some(plaintext);
    done.map(|id| ApiKeySecret { id, plaintext })
}

/// A question that could not be asked.
pub(super) fn unavailable(error: QueryError) -> DispatchError<Refusal> {
    DispatchError::Failed(match error {
        QueryError::Unavailable(error) => Failure::Read(error),
        QueryError::NotFound => Failure::Read(ReadError::Unavailable("a row is missing".into())),
    })
}
