//! People: registering them by hand, and who runs the instance.

use super::refusal::{Refusal, Resource};
use super::registration::InsertUser;
use super::{Outcome, authority};
use crate::Tenure;
use crate::aggregates::field::Invalid;
use crate::aggregates::user::{Email, User, UserCommand, UserMode, Username};
use crate::context::Context;
use crate::dispatch::{DecideError, DispatchError, Operation, UnitOfWork};
use crate::ids::UserId;

/// Refuses the seeded user, which never signs in.
fn may_be_operator(user: UserId) -> Result<(), DecideError<Refusal>> {
    if user == UserId::UNAUTHENTICATED { Err(DecideError::Refused(Refusal::Forbidden)) } else { Ok(()) }
}

struct GrantOperator {
    user: UserId,
}

impl Operation for GrantOperator {
    type Answer = ();
    type Refusal = Refusal;

    fn name(&self) -> &'static str {
        "grant_operator"
    }

    async fn decide(&self, work: &mut UnitOfWork<'_>) -> Result<(), DecideError<Refusal>> {
        authority::require_operator(work).await?;
        may_be_operator(self.user)?;
        let command = UserCommand::GrantOperator { at: work.at() };
        work.execute::<User, Refusal>(self.user.as_uuid(), command).await?;
        Ok(())
    }
}

struct RevokeOperator {
    user: UserId,
}

impl Operation for RevokeOperator {
    type Answer = ();
    type Refusal = Refusal;

    fn name(&self) -> &'static str {
        "revoke_operator"
    }

    async fn decide(&self, work: &mut UnitOfWork<'_>) -> Result<(), DecideError<Refusal>> {
        authority::require_operator(work).await?;
        may_be_operator(self.user)?;
        let command = UserCommand::RevokeOperator { at: work.at() };
        work.execute::<User, Refusal>(self.user.as_uuid(), command).await?;
        Ok(())
    }
}

impl Tenure {
    /// Registers a person by hand; for operators.
    ///
    /// # Errors
    /// `InvalidUserMode`, `Invalid`, `UsernameTaken`, `Forbidden`.
    pub async fn insert_user(
        &self,
        context: &Context,
        username: &str,
        email: &str,
        mode: &str,
    ) -> Outcome<UserId> {
        let mode = mode.parse().map_err(|_| DispatchError::Refused(Refusal::InvalidUserMode))?;
        self.register_by_hand(context, username, email, mode, false).await
    }

    /// Registers a person who runs the instance, in one step; for operators.
    ///
    /// # Errors
    /// `Invalid`, `UsernameTaken`, `Forbidden`.
    pub async fn insert_operator(&self, context: &Context, username: &str, email: &str) -> Outcome<UserId> {
        self.register_by_hand(context, username, email, UserMode::Internal, true).await
    }

    async fn register_by_hand(
        &self,
        context: &Context,
        username: &str,
        email: &str,
        mode: UserMode,
        operator: bool,
    ) -> Outcome<UserId> {
        let refused = |invalid: Invalid| DispatchError::Refused(Refusal::Invalid(invalid));
        let operation = InsertUser {
            id: self.new_id(UserId::new),
            username: Username::chosen(username).map_err(refused)?,
            email: Email::parse(email).map_err(refused)?,
            mode,
            operator,
        };
        self.dispatcher().dispatch(context, &operation).await
    }

    /// Makes a person run the instance, or no longer; for operators; no event if it is so already.
    ///
    /// # Errors
    /// `NotFound`, `Forbidden`.
    pub async fn set_operator(&self, context: &Context, user: UserId, operator: bool) -> Outcome<()> {
        if operator {
            self.dispatcher().dispatch(context, &GrantOperator { user }).await
        } else {
            self.dispatcher().dispatch(context, &RevokeOperator { user }).await
        }
    }
}

/// Refuses an identifier that belongs to nobody who could sign in: the seeded user never does.
pub(super) async fn must_sign_in(
    work: &mut UnitOfWork<'_>,
    user: UserId,
) -> Result<(), DecideError<Refusal>> {
    if user == UserId::UNAUTHENTICATED {
        return Err(DecideError::Refused(Refusal::Forbidden));
    }
    must_exist(work, user).await
}

/// Refuses an identifier that belongs to nobody.
pub(super) async fn must_exist(work: &mut UnitOfWork<'_>, user: UserId) -> Result<(), DecideError<Refusal>> {
    match work.load::<User>(user.as_uuid()).await?.registered() {
        Some(_) => Ok(()),
        None => Err(DecideError::Refused(Refusal::NotFound(Resource::User))),
    }
}

/// Whether somebody has not been forgotten.
pub(super) async fn is_known(
    work: &mut UnitOfWork<'_>,
    user: Option<UserId>,
) -> Result<bool, DecideError<Refusal>> {
    match user {
        Some(user) => Ok(work.load::<User>(user.as_uuid()).await?.registered().is_some()),
        None => Ok(false),
    }
}
