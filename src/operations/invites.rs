//! Creates, accepts, declines and revokes invites.

use super::limits::{self, Counted, Limits};
use super::refusal::{Refusal, Resource};
use super::{Outcome, accounts, accounts_of, authority, or_not_found, users};
use crate::Tenure;
use crate::aggregates::account::{Account, AccountCommand};
use crate::aggregates::field::Invalid;
use crate::aggregates::invite::{
    Invite, InviteCommand, InviteeKey, NewInvite, Offer, claim_on_name, pending_invite_claim,
};
use crate::aggregates::user::{User, UserMode, Username, invited_name_claim, username_claim};
use crate::context::Context;
use crate::dispatch::{DecideError, DispatchError, Operation, UnitOfWork};
use crate::ids::{AccountId, InviteId, NameKeyId, UserId};
use crate::projections::invites::InviteStatus;

/// The offer of this invite, or `NotFound`.
async fn offer(work: &mut UnitOfWork<'_>, invite: InviteId) -> Result<Offer, DecideError<Refusal>> {
    let invite = work.load::<Invite>(invite.as_uuid()).await?;
    invite.offer().cloned().ok_or(DecideError::Refused(Refusal::NotFound(Resource::Invite)))
}

/// The key that seals the invitee's name: that of the user who has the name, or a key of the name if no user has it.
async fn invitee_key(
    work: &mut UnitOfWork<'_>,
    account: AccountId,
    name: &Username,
) -> Result<InviteeKey, DecideError<Refusal>> {
    let claim = username_claim(name, work.hasher());
    let remembered = work.remembered_holder(&claim).and_then(|holder| holder.parse::<UserId>().ok());
    if let Some(user) = remembered {
        // The remembered holder may be stale; trust it only if the user's own state has the name. This saves a query.
        let state = work.load::<User>(user.as_uuid()).await?;
        let has_it = |known: &Username| known.fold() == name.fold();
        if state.registered().is_some_and(|person| person.username.open().is_some_and(has_it)) {
            return Ok(InviteeKey::User(user));
        }
    }
    // `before` is the claim of an invite of version 1, which has no name key.
    let (invited, before) =
        (invited_name_claim(name, work.hasher()), claim_on_name(account, name, work.hasher()));
    let [holder, key, standing] = work.holders([&claim, &invited, &before]).await?;
    if let Some(user) = holder.and_then(|holder| holder.parse::<UserId>().ok())
        && work.load::<User>(user.as_uuid()).await?.registered().is_some()
    {
        return Ok(InviteeKey::User(user));
    }
    if standing.is_some() {
        return Err(DecideError::Refused(Refusal::DuplicatePendingInvite));
    }
    Ok(match key.and_then(|key| key.parse().ok()) {
        Some(id) => InviteeKey::Name { id, begins: false },
        None => InviteeKey::Name { id: NameKeyId::new(work.at(), work.entropy()), begins: true },
    })
}

struct CreateInvite {
    id: InviteId,
    account: AccountId,
    invitee: Username,
    by: Option<UserId>,
    mode: UserMode,
    ttl: std::time::Duration,
    limits: Limits,
}

impl CreateInvite {
    /// Refuses a second invite if one to the user's name is pending that was not bound when they took the name.
    async fn waits_for_the_name(
        &self,
        work: &mut UnitOfWork<'_>,
        user: UserId,
    ) -> Result<(), DecideError<Refusal>> {
        let person = work.load::<User>(user.as_uuid()).await?;
        for key in person.registered().map(|person| person.name_keys.clone()).unwrap_or_default() {
            let named = InviteeKey::Name { id: key, begins: false };
            let claim = pending_invite_claim(self.account, named, work.hasher());
            if work.holder(&claim).await?.is_some() {
                return Err(DecideError::Refused(Refusal::DuplicatePendingInvite));
            }
        }
        Ok(())
    }
}

impl Operation for CreateInvite {
    type Answer = InviteId;
    type Refusal = Refusal;

    fn name(&self) -> &'static str {
        "create_invite"
    }

    async fn decide(&self, work: &mut UnitOfWork<'_>) -> Result<InviteId, DecideError<Refusal>> {
        let account = accounts::open_account(work, self.account).await?;
        authority::require_owner(work, &account).await?;
        let inviter =
            authority::created_by(authority::person(work), self.by).map_err(DecideError::Refused)?;
        users::must_exist(work, inviter).await?;
        let invitee_key = invitee_key(work, self.account, &self.invitee).await?;
        let bound = match invitee_key {
            InviteeKey::User(user) => Some(user),
            InviteeKey::Name { .. } => None,
        };
        if let Some(user) = bound {
            if user == inviter {
                let rule = "a user other than the inviter";
                return Err(DecideError::Refused(Refusal::Invalid(Invalid { field: "invitee", rule })));
            }
            if account.includes(user) {
                return Err(DecideError::Refused(Refusal::AlreadyMember));
            }
            self.waits_for_the_name(work, user).await?;
        }
        limits::enforce_limit(work, Counted::PendingInvites(self.account), &self.limits).await?;
        let at = work.at();
        let command = InviteCommand::Create(NewInvite {
            account: self.account,
            inviter,
            invitee: self.invitee.clone(),
            bound,
            invitee_key,
            mode: self.mode,
            at,
            expires_at: at.after(self.ttl),
        });
        work.create::<Invite, _>(self.id.as_uuid(), command)?;
        Ok(self.id)
    }

    fn claim_lost(&self, kind: &str, _: &str) -> Option<Refusal> {
        // Any other lost claim means that a user has just registered the name: decide again, on that user.
        (kind == "pending_invite").then_some(Refusal::DuplicatePendingInvite)
    }
}

/// The offer for the user it is addressed to; `InviteNotPending` if its account is closed.
async fn own_offer(
    work: &mut UnitOfWork<'_>,
    invite: InviteId,
    user: UserId,
) -> Result<Offer, DecideError<Refusal>> {
    let offer = offer(work, invite).await?;
    authority::require_self(work, user).await?;
    // Loaded as a premise too: a user forgotten meanwhile is a conflict.
    let invitee = work.load::<User>(user.as_uuid()).await?;
    if !invitee.registered().is_some_and(|person| offer.is_for(user, person)) {
        return Err(DecideError::Refused(Refusal::Forbidden));
    }
    if work.load::<Account>(offer.account.as_uuid()).await?.open().is_none() {
        // The invite ended with its account; its row is cleared away later.
        return Err(DecideError::Refused(Refusal::InviteNotPending));
    }
    Ok(offer)
}

struct AcceptInvite {
    invite: InviteId,
    user: UserId,
}

impl Operation for AcceptInvite {
    type Answer = AccountId;
    type Refusal = Refusal;

    fn name(&self) -> &'static str {
        "accept_invite"
    }

    async fn decide(&self, work: &mut UnitOfWork<'_>) -> Result<AccountId, DecideError<Refusal>> {
        let account = own_offer(work, self.invite, self.user).await?.account;
        let (user, at) = (self.user, work.at());
        work.execute::<Invite, Refusal>(self.invite.as_uuid(), InviteCommand::Accept { user, at }).await?;
        work.execute::<Account, Refusal>(account.as_uuid(), AccountCommand::AddMember { user, at }).await?;
        work.bump_guard(accounts_of(user));
        Ok(account)
    }
}

struct DeclineInvite {
    invite: InviteId,
    user: UserId,
}

impl Operation for DeclineInvite {
    type Answer = AccountId;
    type Refusal = Refusal;

    fn name(&self) -> &'static str {
        "decline_invite"
    }

    async fn decide(&self, work: &mut UnitOfWork<'_>) -> Result<AccountId, DecideError<Refusal>> {
        let account = own_offer(work, self.invite, self.user).await?.account;
        let command = InviteCommand::Decline { user: self.user, at: work.at() };
        work.execute::<Invite, Refusal>(self.invite.as_uuid(), command).await?;
        Ok(account)
    }
}

struct RevokeInvite {
    account: Option<AccountId>,
    invite: InviteId,
}

impl Operation for RevokeInvite {
    type Answer = ();
    type Refusal = Refusal;

    fn name(&self) -> &'static str {
        "revoke_invite"
    }

    async fn decide(&self, work: &mut UnitOfWork<'_>) -> Result<(), DecideError<Refusal>> {
        let offer = offer(work, self.invite).await?;
        if self.account.is_some_and(|account| account != offer.account) {
            return Err(DecideError::Refused(Refusal::NotFound(Resource::Invite)));
        }
        let account = accounts::open_account(work, offer.account).await?;
        authority::require_owner(work, &account).await?;
        // The invite ends with its invitee. An unbound invite does not say who took the name; the projection does.
        let stands = if offer.bound.is_some() {
            users::is_known(work, offer.bound).await?
        } else {
            let shown = work.reader().invite(self.invite).await;
            or_not_found(shown, Resource::Invite)?.status == InviteStatus::Pending
        };
        if !stands {
            return Err(DecideError::Refused(Refusal::InviteNotPending));
        }
        let command = InviteCommand::Revoke { at: work.at() };
        work.execute::<Invite, Refusal>(self.invite.as_uuid(), command).await?;
        Ok(())
    }
}

impl Tenure {
    /// Invites a user by username. The user need not exist yet, but must then sign up through GitHub. For the owner; an
    /// operator on the database names the inviter in `by`.
    ///
    /// # Errors
    /// `Invalid` (a malformed name, or the inviter's own), `AlreadyMember`, `DuplicatePendingInvite`, `LimitReached`,
    /// `NotFound`, `Forbidden`.
    pub async fn create_invite(
        &self,
        context: &Context,
        account: AccountId,
        invitee: &str,
        by: Option<UserId>,
    ) -> Outcome<InviteId> {
        self.create_invite_for_mode(context, account, invitee, by, UserMode::Github).await
    }

    /// As [`Tenure::create_invite`], with the sign-in mode that a user must have if the name is not registered yet.
    ///
    /// # Errors
    /// As [`Tenure::create_invite`].
    pub async fn create_invite_for_mode(
        &self,
        context: &Context,
        account: AccountId,
        invitee: &str,
        by: Option<UserId>,
        mode: UserMode,
    ) -> Outcome<InviteId> {
        let named =
            |error: Invalid| DispatchError::Refused(Refusal::Invalid(Invalid { field: "invitee", ..error }));
        let operation = CreateInvite {
            id: self.new_id(InviteId::new),
            account,
            invitee: Username::chosen(invitee).map_err(named)?,
            by,
            mode,
            ttl: self.rules().invite_ttl,
            limits: self.rules().limits,
        };
        self.dispatcher().dispatch(context, &operation).await
    }

    /// Accepts an invite and adds its user as a member, atomically. Returns the account.
    ///
    /// # Errors
    /// In this order: `NotFound` (unknown), `Forbidden` (another user's), `InviteNotPending`.
    pub async fn accept_invite(
        &self,
        context: &Context,
        invite: InviteId,
        user: UserId,
    ) -> Outcome<AccountId> {
        self.dispatcher().dispatch(context, &AcceptInvite { invite, user }).await
    }

    /// Declines an invite. Returns the account.
    ///
    /// # Errors
    /// As [`Tenure::accept_invite`].
    pub async fn decline_invite(
        &self,
        context: &Context,
        invite: InviteId,
        user: UserId,
    ) -> Outcome<AccountId> {
        self.dispatcher().dispatch(context, &DeclineInvite { invite, user }).await
    }

    /// Revokes an invite. If `account` is given, an invite of another account is `NotFound`.
    ///
    /// # Errors
    /// `NotFound`, `InviteNotPending`, `Forbidden`.
    pub async fn revoke_invite(
        &self,
        context: &Context,
        account: Option<AccountId>,
        invite: InviteId,
    ) -> Outcome<()> {
        self.dispatcher().dispatch(context, &RevokeInvite { account, invite }).await
    }
}
