//! Registers users manually, grants and revokes the operator flag, and checks that users exist.

use super::refusal::{Refusal, Resource};
use super::registration::InsertUser;
use super::{Outcome, authority};
use crate::Tenure;
use crate::aggregates::field::Invalid;
use crate::aggregates::user::{Email, User, UserCommand, UserMode, Username};
use crate::context::Context;
use crate::dispatch::{DecideError, DispatchError, Operation, UnitOfWork};
use crate::ids::UserId;

/// Refuses the seeded user with `Forbidden`: it never signs in, so it cannot be an operator.
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
    /// Registers a user manually; for operators. `mode` is `github` or `internal`.
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

    /// Registers an internal user with the operator flag, atomically; for operators.
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

    /// Grants or revokes a user's operator flag; for operators. No event if nothing changes.
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

/// Refuses a user who cannot sign in: `NotFound` if unknown or forgotten, `Forbidden` for the seeded user.
pub(super) async fn must_sign_in(
    work: &mut UnitOfWork<'_>,
    user: UserId,
) -> Result<(), DecideError<Refusal>> {
    if user == UserId::UNAUTHENTICATED {
        return Err(DecideError::Refused(Refusal::Forbidden));
    }
    must_exist(work, user).await
}

/// Refuses an unknown or forgotten user with `NotFound`.
pub(super) async fn must_exist(work: &mut UnitOfWork<'_>, user: UserId) -> Result<(), DecideError<Refusal>> {
    match work.load::<User>(user.as_uuid()).await?.registered() {
        Some(_) => Ok(()),
        None => Err(DecideError::Refused(Refusal::NotFound(Resource::User))),
    }
}

/// Whether the user is registered and has not been forgotten; `false` for `None`.
pub(super) async fn is_known(
    work: &mut UnitOfWork<'_>,
    user: Option<UserId>,
) -> Result<bool, DecideError<Refusal>> {
    match user {
        Some(user) => Ok(work.load::<User>(user.as_uuid()).await?.registered().is_some()),
        None => Ok(false),
    }
}
