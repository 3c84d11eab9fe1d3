//! Starts, looks up and ends browser sessions.

use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};

use super::bearer_tokens::{MAX_TTL, checked_ttl};
use super::limits::Limits;
use super::refusal::{Refusal, Resource};
use super::{Outcome, authority, credentials_of, users};
use crate::Tenure;
use crate::aggregates::secret::SecretDigest;
use crate::aggregates::session::{NewSession, Session, SessionCommand};
use crate::context::Context;
use crate::credentials::token;
use crate::dispatch::{DecideError, Failure, Operation, UnitOfWork};
use crate::ids::{SessionId, UserId};
use crate::projections::{QueryError, sessions};

/// The most sessions that one new session ends. More than one is needed only after the limit was lowered.
const MAX_ENDED: u32 = 1_000;

/// A generated session that has not been started yet.
pub(super) struct GeneratedSession {
    pub(super) id: SessionId,
    pub(super) secret: SecretString,
    ttl: Duration,
    limits: Limits,
}

impl GeneratedSession {
    pub(super) fn new(tenure: &Tenure, ttl: Duration) -> Self {
        let (id, secret) = (tenure.new_id(SessionId::new), token::session(&*tenure.entropy()));
        Self { id, secret, ttl, limits: tenure.rules().limits }
    }

    /// Starts the session for a user, who must exist and be able to sign in.
    pub(super) async fn start(
        &self,
        work: &mut UnitOfWork<'_>,
        user: UserId,
    ) -> Result<(), DecideError<Refusal>> {
        users::must_sign_in(work, user).await?;
        self.make_room(work, user).await?;
        let at = work.at();
        let command = SessionCommand::Start(NewSession {
            user,
            digest: SecretDigest::of(self.secret.expose_secret()),
            at,
            expires_at: at.after(self.ttl),
        });
        work.create::<Session, _>(self.id.as_uuid(), command)?;
        work.bump_guard(credentials_of(user));
        Ok(())
    }

    /// Ends the oldest sessions of a user who is at the limit, so that the limit never blocks a sign-in.
    async fn make_room(&self, work: &mut UnitOfWork<'_>, user: UserId) -> Result<(), DecideError<Refusal>> {
        let (reader, at) = (work.reader().clone(), work.at());
        let most = self.limits.sessions_per_user.max(1);
        if reader.count_of_sessions(user, at).await.map_err(Failure::from)? < most {
            return Ok(());
        }
        // Guard and count again: concurrent sign-ins must not count the same sessions.
        work.read_guard(credentials_of(user)).await?;
        let count = reader.count_of_sessions(user, at).await.map_err(Failure::from)?;
        let too_many = (count + 1).saturating_sub(most).min(MAX_ENDED);
        let oldest = reader.living_sessions(user, at, too_many as usize).await;
        for session in oldest.map_err(Failure::from)? {
            work.execute::<Session, Refusal>(session.id.as_uuid(), SessionCommand::End { at }).await?;
        }
        Ok(())
    }
}

struct StartSession {
    user: UserId,
    fresh: GeneratedSession,
}

impl Operation for StartSession {
    type Answer = SessionId;
    type Refusal = Refusal;

    fn name(&self) -> &'static str {
        "start_session"
    }

    async fn decide(&self, work: &mut UnitOfWork<'_>) -> Result<SessionId, DecideError<Refusal>> {
        authority::require_self(work, self.user).await?;
        self.fresh.start(work, self.user).await?;
        Ok(self.fresh.id)
    }
}

struct EndSession {
    session: SessionId,
}

impl Operation for EndSession {
    type Answer = ();
    type Refusal = Refusal;

    fn name(&self) -> &'static str {
        "end_session"
    }

    async fn decide(&self, work: &mut UnitOfWork<'_>) -> Result<(), DecideError<Refusal>> {
        let not_found = DecideError::Refused(Refusal::NotFound(Resource::Session));
        let session = work.load::<Session>(self.session.as_uuid()).await?;
        let operator = authority::is_operator(work).await?;
        let person = authority::acting_person(work).await?;
        // A session of another user must look unknown.
        match session.owner() {
            Some(user) if operator || person == Some(user) => {}
            _ => return Err(not_found),
        }
        if !users::is_known(work, session.owner()).await? {
            // The session ended when its user was forgotten; its row is cleared away later.
            return Ok(());
        }
        let command = SessionCommand::End { at: work.at() };
        work.execute::<Session, Refusal>(self.session.as_uuid(), command).await?;
        Ok(())
    }
}

impl Tenure {
    /// Starts a session of a user. Returns its identifier and its secret, which is shown only once; the secret is
    /// `None` if the idempotency key repeats an earlier request.
    ///
    /// # Errors
    /// `Invalid`, `NotFound` (unknown or forgotten user), `Forbidden`.
    pub async fn start_session(
        &self,
        context: &Context,
        user: UserId,
        ttl: Duration,
    ) -> Outcome<(SessionId, Option<SecretString>)> {
        let ttl = checked_ttl(ttl, MAX_TTL, "more than 0 and at most ten years")?;
        let operation = StartSession { user, fresh: GeneratedSession::new(self, ttl) };
        let done = self.dispatcher().dispatch(context, &operation).await?;
        let secret = (!done.repeated).then_some(operation.fresh.secret);
        Ok(done.map(|id| (id, secret)))
    }

    /// The session with this secret. Read from the primary on every call, so that a sign-out takes effect at once.
    ///
    /// # Errors
    /// `NotFound` if the session is unknown, expired or ended.
    pub async fn lookup_session(&self, secret: &SecretString) -> Result<sessions::Session, QueryError> {
        self.reader().session(secret.expose_secret(), self.clock().now()).await
    }

    /// Ends a session; no event if it has ended already.
    ///
    /// # Errors
    /// `NotFound` (unknown, or of another user).
    pub async fn end_session(&self, context: &Context, session: SessionId) -> Outcome<()> {
        self.dispatcher().dispatch(context, &EndSession { session }).await
    }
}
