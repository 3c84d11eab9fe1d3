//! Issues, looks up and revokes bearer tokens, the access tokens of users.

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

/// The longest lifetime of a token or a session: ten years.
pub const MAX_TTL: Duration = Duration::from_hours(24 * 3_653);

/// The lifetime if it is above zero and at most `most`, or `Invalid` with this rule.
pub(super) fn checked_ttl(
    ttl: Duration,
    most: Duration,
    rule: &'static str,
) -> Result<Duration, DispatchError<Refusal>> {
    if ttl.is_zero() || ttl > most { Err(invalid(Invalid { field: "ttl", rule })) } else { Ok(ttl) }
}

/// A generated token that has not been issued yet.
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

    /// Issues the token to a user, who must exist and be able to sign in.
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
        // The set of the user's tokens changes, on which the limit is decided.
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
        // A token of another user must look unknown.
        match token.owner() {
            Some(user) if operator || person == Some(user) => {}
            _ => return Err(not_found),
        }
        if !users::is_known(work, token.owner()).await? {
            // The token ended when its user was forgotten; its row is cleared away later.
            return Ok(());
        }
        let command = BearerTokenCommand::Revoke { at: work.at() };
        work.execute::<BearerToken, Refusal>(self.token.as_uuid(), command).await?;
        Ok(())
    }
}

impl Tenure {
    /// Issues a bearer token to a user. Returns its identifier and the token, which is shown only once; the token is
    /// `None` if the idempotency key repeats an earlier request.
    ///
    /// # Errors
    /// `Invalid`, `NotFound` (unknown or forgotten user), `LimitReached`, `Forbidden`.
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

    /// The bearer token with this secret. Read from the primary on every call, so a revocation takes effect at once.
    ///
    /// # Errors
    /// `NotFound` if the token is unknown, expired or revoked.
    pub async fn lookup_bearer_token(
        &self,
        secret: &SecretString,
    ) -> Result<bearer_tokens::BearerToken, QueryError> {
        let now = self.clock().now();
        let token = self.reader().bearer_token(secret.expose_secret(), now).await?;
        self.record_use(token.id.as_uuid(), token.last_used_at, now).await;
        Ok(token)
    }

    /// Revokes a token; no event if it is revoked already.
    ///
    /// # Errors
    /// `NotFound` (unknown, or of another user).
    pub async fn revoke_bearer_token(&self, context: &Context, token: BearerTokenId) -> Outcome<()> {
        self.dispatcher().dispatch(context, &RevokeBearerToken { token }).await
    }
}
