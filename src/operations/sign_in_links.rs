//! Sign-in links: an operator issues one, and its user signs in with it once.

use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};

use super::bearer_tokens::checked_ttl;
use super::refusal::{Refusal, Resource};
use super::sessions::GeneratedSession;
use super::{Outcome, authority, or_not_found, users};
use crate::Tenure;
use crate::aggregates::secret::SecretDigest;
use crate::aggregates::sign_in_link::{NewSignInLink, SignInLink, SignInLinkCommand};
use crate::aggregates::user::{User, UserMode};
use crate::context::Context;
use crate::credentials::token;
use crate::dispatch::{DecideError, Operation, UnitOfWork};
use crate::ids::{SessionId, SignInLinkId, UserId};

/// How long a sign-in link can be used: ten minutes.
pub const SIGN_IN_LINK_TTL: Duration = Duration::from_mins(10);

struct IssueSignInLink {
    id: SignInLinkId,
    user: UserId,
    digest: SecretDigest,
}

impl Operation for IssueSignInLink {
    type Answer = SignInLinkId;
    type Refusal = Refusal;

    fn name(&self) -> &'static str {
        "issue_sign_in_link"
    }

    async fn decide(&self, work: &mut UnitOfWork<'_>) -> Result<SignInLinkId, DecideError<Refusal>> {
        authority::require_operator(work).await?;
        users::must_sign_in(work, self.user).await?;
        let user = work.load::<User>(self.user.as_uuid()).await?;
        if user.registered().is_some_and(|user| user.mode != UserMode::Internal) {
            return Err(DecideError::Refused(Refusal::NotAnInternalUser));
        }
        let at = work.at();
        let command = SignInLinkCommand::Issue(NewSignInLink {
            user: self.user,
            digest: self.digest,
            at,
            expires_at: at.after(SIGN_IN_LINK_TTL),
        });
        work.create::<SignInLink, _>(self.id.as_uuid(), command)?;
        Ok(self.id)
    }
}

struct UseSignInLink<'a> {
    secret: &'a SecretString,
    session: GeneratedSession,
}

impl Operation for UseSignInLink<'_> {
    type Answer = (UserId, SessionId);
    type Refusal = Refusal;

    fn name(&self) -> &'static str {
        "sign_in_by_link"
    }

    async fn decide(&self, work: &mut UnitOfWork<'_>) -> Result<Self::Answer, DecideError<Refusal>> {
        let not_found = || DecideError::Refused(Refusal::NotFound(Resource::SignInLink));
        let known = work.reader().sign_in_link(self.secret.expose_secret(), work.at()).await;
        let (id, _) = or_not_found(known, Resource::SignInLink)?;
        // The projection finds the link; its own state decides, so that a link used meanwhile is a conflict.
        let link = work.load::<SignInLink>(id.as_uuid()).await?;
        let SignInLink::Active(active) = &*link else { return Err(not_found()) };
        let (user, at) = (active.user, work.at());
        // In the same unit as the session: the link is used up if and only if the session starts.
        work.execute::<SignInLink, Refusal>(id.as_uuid(), SignInLinkCommand::Use { at }).await?;
        match self.session.start(work, user).await {
            // The user has been forgotten.
            Err(DecideError::Refused(_)) => Err(not_found()),
            other => other.map(|()| (user, self.session.id)),
        }
    }
}

impl Tenure {
    /// Issues a link with which an internal user signs in once, within [`SIGN_IN_LINK_TTL`]; for operators. Returns its
    /// secret, which is shown only once.
    ///
    /// # Errors
    /// `NotAnInternalUser`, `NotFound`, `Forbidden`.
    pub async fn issue_sign_in_link(&self, context: &Context, user: UserId) -> Outcome<SecretString> {
        let secret = token::sign_in_link(&*self.entropy());
        let digest = SecretDigest::of(secret.expose_secret());
        let operation = IssueSignInLink { id: self.new_id(SignInLinkId::new), user, digest };
        // A link is a secret, so its response must not be stored: the idempotency key is ignored.
        let context = Context { idempotency: None, ..*context };
        let done = self.dispatcher().dispatch(&context, &operation).await?;
        Ok(done.map(|_| secret))
    }

    /// The user that a link signs in. Does not use the link.
    ///
    /// # Errors
    /// `NotFound` if the link is unknown, used or expired.
    pub async fn lookup_sign_in_link(
        &self,
        secret: &SecretString,
    ) -> Result<UserId, crate::projections::QueryError> {
        let known = self.reader().sign_in_link(secret.expose_secret(), self.clock().now()).await;
        known.map(|(_, user)| user)
    }

    /// Uses a sign-in link and starts a session of its user, atomically. Of concurrent callers exactly one succeeds.
    ///
    /// # Errors
    /// `NotFound` if the link is unknown, used or expired; `Invalid` for the session's lifetime.
    pub async fn sign_in_by_link(
        &self,
        context: &Context,
        secret: &SecretString,
        ttl: Duration,
    ) -> Outcome<(UserId, SessionId, SecretString)> {
        let ttl = checked_ttl(ttl, super::MAX_TTL, "more than 0 and at most ten years")?;
        let operation = UseSignInLink { secret, session: GeneratedSession::new(self, ttl) };
        // As above: the session's secret must not be stored.
        let context = Context { idempotency: None, ..*context };
        let done = self.dispatcher().dispatch(&context, &operation).await?;
        let secret = operation.session.secret.clone();
        Ok(done.map(|(user, session)| (user, session, secret)))
    }
}
