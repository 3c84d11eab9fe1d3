//! Registering a user, and binding the invites that were waiting for the name.

use super::authority;
use super::refusal::Refusal;
use crate::aggregates::account::Account;
use crate::aggregates::invite::{Invite, InviteCommand, InviteeKey, pending_invite_claim};
use crate::aggregates::user::{
    Email, NewUser, User, UserCommand, UserMode, Username, invited_name_claim, username_claim,
};
use crate::dispatch::{DecideError, Failure, Operation, UnitOfWork};
use crate::ids::UserId;

pub(super) struct InsertUser {
    pub(super) id: UserId,
    pub(super) username: Username,
    pub(super) email: Email,
    pub(super) mode: UserMode,
    pub(super) operator: bool,
}

impl Operation for InsertUser {
    type Answer = UserId;
    type Refusal = Refusal;

    fn name(&self) -> &'static str {
        "insert_user"
    }

    async fn decide(&self, work: &mut UnitOfWork<'_>) -> Result<UserId, DecideError<Refusal>> {
        authority::require_operator(work).await?;
        let person = NewUser {
            username: self.username.clone(),
            email: Some(self.email.clone()),
            mode: self.mode,
            github: None,
            avatar_url: None,
            at: work.at(),
        };
        work.create::<User, _>(self.id.as_uuid(), UserCommand::Register(person))?;
        bind_pending_invites(work, self.id, &self.username, self.mode).await?;
        if self.operator {
            let command = UserCommand::GrantOperator { at: work.at() };
            work.execute::<User, Refusal>(self.id.as_uuid(), command).await?;
        }
        Ok(self.id)
    }

    fn claim_lost(&self, _: &str, holder: &str) -> Option<Refusal> {
        // The name is free, but an invite may wait for whoever takes it: decide again, and bind it.
        (!holder.is_empty()).then_some(Refusal::UsernameTaken)
    }
}

/// Gives a person who has just taken a name the invites that waited for it. Looks only when the name turned out to have
/// been somebody's before, or to be waited for, which the first decision does not know.
pub(super) async fn bind_pending_invites(
    work: &mut UnitOfWork<'_>,
    user: UserId,
    username: &Username,
    mode: UserMode,
) -> Result<(), DecideError<Refusal>> {
    if work.attempt() == 0 {
        return Ok(());
    }
    let claim = username_claim(username, work.hasher());
    let Some(holder) = work.last_holder(&claim).await? else { return Ok(()) };
    work.take_over(claim, holder);
    let at = work.at();
    let waiting =
        work.reader().unbound_invites(username, mode, at, MAX_BOUND).await.map_err(Failure::from)?;
    let mut bound = Vec::new();
    for invite in waiting {
        let state = work.load::<Invite>(invite.as_uuid()).await?;
        let Some(offer) = state.offer().filter(|offer| offer.is_pending(at)) else { continue };
        if bound.contains(&offer.account)
            || work.load::<Account>(offer.account.as_uuid()).await?.open().is_none()
        {
            continue;
        }
        let theirs = pending_invite_claim(offer.account, InviteeKey::User(user), work.hasher());
        if work.holder(&theirs).await?.is_some() {
            // They have another one to the same account already; this one stays the name's.
            continue;
        }
        bound.push(offer.account);
        work.execute::<Invite, Refusal>(invite.as_uuid(), InviteCommand::Bind { user, at }).await?;
    }
    let key = work.holder(&invited_name_claim(username, work.hasher())).await?;
    if let Some(key) = key.and_then(|key| key.parse().ok()) {
        // Whatever was said of the name is the person's now, decided and dead invites too.
        let command = UserCommand::TakeInvitedName { key, name: username.clone(), at };
        work.execute::<User, Refusal>(user.as_uuid(), command).await?;
    }
    Ok(())
}

/// How many invites that waited for a name are given to the person who takes it: few enough that nobody keeps them from it
/// by sending more. Others are matched by the key of the name.
const MAX_BOUND: usize = 50;
