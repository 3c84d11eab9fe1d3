//! Registers a user and binds the pending invites to their username.

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
        // After `create`: only a registered user can take over a name key.
        bind_pending_invites(work, self.id, &self.username, self.mode).await?;
        if self.operator {
            let command = UserCommand::GrantOperator { at: work.at() };
            work.execute::<User, Refusal>(self.id.as_uuid(), command).await?;
        }
        Ok(self.id)
    }

    fn claim_lost(&self, _: &str, holder: &str) -> Option<Refusal> {
        // An empty holder is a tombstone: the name is free, but invites may wait for it. Decide again and bind them.
        (!holder.is_empty()).then_some(Refusal::UsernameTaken)
    }
}

/// Binds pending invites to the user who just took the name. Skipped on the first attempt: only a tombstone on the
/// name, which the user's claim runs into when it is stored, means that invites may be waiting.
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
    // Take over exactly this tombstone: an invite created after this lookup replaces it, and then the takeover fails
    // and the next attempt finds that invite.
    work.take_over(claim, holder);
    let at = work.at();
    let waiting =
        work.reader().unbound_invites(username, mode, at, MAX_BOUND).await.map_err(Failure::from)?;
    let mut bound = Vec::new();
    for invite in waiting {
        let state = work.load::<Invite>(invite.as_uuid()).await?;
        let Some(offer) = state.offer().filter(|offer| offer.is_pending(at)) else { continue };
        // At most one invite per account: a user has at most one pending invite to it.
        if bound.contains(&offer.account)
            || work.load::<Account>(offer.account.as_uuid()).await?.open().is_none()
        {
            continue;
        }
        let theirs = pending_invite_claim(offer.account, InviteeKey::User(user), work.hasher());
        if work.holder(&theirs).await?.is_some() {
            // The user already has a pending invite to this account; this one stays with the name.
            continue;
        }
        bound.push(offer.account);
        work.execute::<Invite, Refusal>(invite.as_uuid(), InviteCommand::Bind { user, at }).await?;
    }
    let key = work.holder(&invited_name_claim(username, work.hasher())).await?;
    if let Some(key) = key.and_then(|key| key.parse().ok()) {
        // All invites to the name are the user's from here on, decided and expired ones too, so forgetting the user
        // erases them.
        let command = UserCommand::TakeInvitedName { key, name: username.clone(), at };
        work.execute::<User, Refusal>(user.as_uuid(), command).await?;
    }
    Ok(())
}

/// The most invites that are bound when a user takes a name. Bounded so that a flood of invites cannot block the
/// registration; the others are matched by the name key.
const MAX_BOUND: usize = 50;
