//! People: registering them by hand, and who runs the instance.

use super::refusal::{Refusal, Thing};
use super::{Outcome, authority};
use crate::Tenure;
use crate::aggregates::user::{Email, RegisterUser, User, UserCommand, UserMode, Username};
use crate::context::Context;
use crate::dispatch::{DispatchError, Operation, Stop, UnitOfWork};
use crate::ids::UserId;

struct InsertUser {
    id: UserId,
    username: Username,
    email: Email,
    mode: UserMode,
}

impl Operation for InsertUser {
    type Answer = UserId;
    type Refusal = Refusal;

    async fn decide(&self, work: &mut UnitOfWork<'_>) -> Result<UserId, Stop<Refusal>> {
        authority::operator(work).await?;
        let person = RegisterUser {
            username: self.username.clone(),
            email: Some(self.email.clone()),
            mode: self.mode,
            github: None,
            avatar_url: None,
            at: work.at(),
        };
        work.create::<User, _>(self.id.as_uuid(), UserCommand::Register(person))?;
        Ok(self.id)
    }

    fn claim_lost(&self, _: &str) -> Option<Refusal> {
        Some(Refusal::UsernameTaken)
    }
}

struct SetOperator {
    user: UserId,
    operator: bool,
}

impl Operation for SetOperator {
    type Answer = ();
    type Refusal = Refusal;

    async fn decide(&self, work: &mut UnitOfWork<'_>) -> Result<(), Stop<Refusal>> {
        authority::operator(work).await?;
        if self.user == UserId::UNAUTHENTICATED {
            return Err(Stop::Refused(Refusal::Forbidden));
        }
        let at = work.at();
        let command = if self.operator {
            UserCommand::GrantOperator { at }
        } else {
            UserCommand::RevokeOperator { at }
        };
        work.execute::<User, Refusal>(self.user.as_uuid(), command).await?;
        Ok(())
    }

    fn claim_lost(&self, _: &str) -> Option<Refusal> {
        None
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
        let refused = |refusal: Refusal| DispatchError::Refused(refusal);
        let operation = InsertUser {
            id: self.new_id(UserId::new),
            username: Username::chosen(username).map_err(|invalid| refused(invalid.into()))?,
            email: Email::parse(email).map_err(|invalid| refused(invalid.into()))?,
            mode: mode.parse().map_err(|_| refused(Refusal::InvalidUserMode))?,
        };
        self.dispatcher().dispatch(context, &operation).await
    }

    /// Makes a person run the instance, or no longer; for operators; no event if it is so already.
    ///
    /// # Errors
    /// `NotFound`, `Forbidden`.
    pub async fn set_operator(&self, context: &Context, user: UserId, operator: bool) -> Outcome<()> {
        self.dispatcher().dispatch(context, &SetOperator { user, operator }).await
    }
}

/// Refuses an identifier that belongs to nobody.
pub(super) async fn must_exist(work: &mut UnitOfWork<'_>, user: UserId) -> Result<(), Stop<Refusal>> {
    match work.load::<User>(user.as_uuid()).await?.registered() {
        Some(_) => Ok(()),
        None => Err(Stop::Refused(Refusal::NotFound(Thing::User))),
    }
}
