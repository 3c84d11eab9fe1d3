//! Access tokens of people: issued, looked up, revoked.

use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};

use super::limits::{self, Counted, Limits};
use super::refusal::{Refusal, Resource};
use super::{Outcome, authority, credentials_of, invalid, users};
use crate::Tenure;
use crate::aggregates::api_key::KeyPrefix;
use crate::aggregates::bearer_token::{BearerToken, BearerTokenCommand, NewBearerToken};
use crate::aggregates::field::Invalid;
use crate::aggregates::secret::SecretDigest;
use crate::context::Context;
use crate::credentials::token;
use crate::dispatch::{DecideError, DispatchError, Dispatched, Operation, UnitOfWork};
use crate::ids::{BearerTokenId, UserId};
use crate::projections::{QueryError, bearer_tokens};

/// The longest life of a token or a session: ten years.
pub const MAX_TTL: Duration = Duration::from_hours(24 * 3_653);

/// Holds the life of a secret to its bounds.
pub(super) fn checked_ttl(
    ttl: Duration,
    most: Duration,
    rule: &'static str,
) -> Result<Duration, DispatchError<Refusal>> {
    if ttl.is_zero() || ttl > most { Err(invalid(Invalid { field: "ttl", rule })) } else { Ok(ttl) }
}

/// A token that is about to be issued.
pub(super) struct GeneratedToken {
    pub(super) id: BearerTokenId,
    pub(super) secret: SecretString,
    prefix: KeyPrefix,
    ttl: Duration,
    limits: Limits,
}

impl GeneratedToken {
    pub(super) fn new(tenure: &Tenure, ttl: Duration) -> Result<Self, DispatchError<Refusal>> {
        let ttl = checked_ttl(ttl, MAX_TTL, "more than 0 and at most ten years")?;
        let (secret, prefix) = token::bearer_token(&tenure.rules().sentinel, &*tenure.entropy());
        let (id, limits) = (tenure.new_id(BearerTokenId::new), tenure.rules().limits);
        Ok(Self { id, secret, prefix, ttl, limits })
    }

    /// Issues it to a person, who must exist and be able to sign in.
    pub(super) async fn issue(
        &self,
        work: &mut UnitOfWork<'_>,
        user: UserId,
    ) -> Result<(), DecideError<Refusal>> {
        users::must_sign_in(work, user).await?;
        limits::enforce_limit(work, Counted::Tokens(user), &self.limits).await?;
        let at = work.at();
        let command = BearerTokenCommand::Issue(NewBearerToken {
            user,
            prefix: self.prefix.clone(),
            digest: SecretDigest::of(self.secret.expose_secret()),
            at,
            expires_at: at.after(self.ttl),
        });
        work.create::<BearerToken, _>(self.id.as_uuid(), command)?;
        work.bump_guard(credentials_of(user));
        Ok(())
    }
}

struct IssueBearerToken {
    user: UserId,
    fresh: GeneratedToken,
}

impl Operation for IssueBearerToken {
    type Answer = BearerTokenId;
    type Refusal = Refusal;

    fn name(&self) -> &'static str {
        "issue_bearer_token"
    }

    async fn decide(&self, work: &mut UnitOfWork<'_>) -> Result<BearerTokenId, DecideError<Refusal>> {
        authority::require_self(work, self.user).await?;
        self.fresh.issue(work, self.user).await?;
        Ok(self.fresh.id)
    }
}

struct RevokeBearerToken {
    token: BearerTokenId,
}

impl Operation for RevokeBearerToken {
    type Answer = ();
    type Refusal = Refusal;

    fn name(&self) -> &'static str {
        "revoke_bearer_token"
    }

    async fn decide(&self, work: &mut UnitOfWork<'_>) -> Result<(), DecideError<Refusal>> {
        let not_found = DecideError::Refused(Refusal::NotFound(Resource::BearerToken));
        let token = work.load::<BearerToken>(self.token.as_uuid()).await?;
        let operator = authority::is_operator(work).await?;
        let person = authority::acting_person(work).await?;
        // Somebody else's is not found.
        match token.owner() {
            Some(user) if operator || person == Some(user) => {}
            _ => return Err(not_found),
        }
        if !users::is_known(work, token.owner()).await? {
            // It ended with its person.
            return Ok(());
        }
        let command = BearerTokenCommand::Revoke { at: work.at() };
        work.execute::<BearerToken, Refusal>(self.token.as_uuid(), command).await?;
        Ok(())
    }
}

impl Tenure {
    /// Issues an access token to a person; gives its identifier and, this once, the token.
    ///
    /// # Errors
    /// `Invalid`, `NotFound` (nobody, or somebody forgotten), `Forbidden`.
    pub async fn issue_bearer_token(
        &self,
        context: &Context,
        user: UserId,
        ttl: Duration,
    ) -> Outcome<(BearerTokenId, Option<SecretString>)> {
        let operation = IssueBearerToken { user, fresh: GeneratedToken::new(self, ttl)? };
        let done: Dispatched<BearerTokenId> = self.dispatcher().dispatch(context, &operation).await?;
        let secret = (!done.repeated).then_some(operation.fresh.secret);
        Ok(done.map(|id| (id, secret)))
    }

    /// The token behind a secret: read from the primary for each call.
    ///
    /// # Errors
    /// `NotFound`: unknown, expired, revoked.
    pub async fn lookup_bearer_token(
        &self,
        secret: &SecretString,
    ) -> Result<bearer_tokens::BearerToken, QueryError> {
        let now = self.clock().now();
        let token = self.reader().bearer_token(secret.expose_secret(), now).await?;
        self.record_use(token.id.as_uuid(), token.last_used_at, now).await;
        Ok(token)
    }

    /// Makes a token good for nothing; no event if it is so already.
    ///
    /// # Errors
    /// `NotFound` (unknown, or somebody else's).
    pub async fn revoke_bearer_token(&self, context: &Context, token: BearerTokenId) -> Outcome<()> {
        self.dispatcher().dispatch(context, &RevokeBearerToken { token }).await
    }
}
