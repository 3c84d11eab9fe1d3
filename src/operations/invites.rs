//! Offers of membership: made, taken, turned down, taken back; bound to people who sign up.

use super::limits::{self, Counted, Limits};
use super::refusal::{Refusal, Thing};
use super::{Outcome, accounts, accounts_of, authority, invites_to, users};
use crate::Tenure;
use crate::aggregates::account::{Account, AccountCommand};
use crate::aggregates::field::Invalid;
use crate::aggregates::invite::{CreateInvite, Invite, InviteCommand, Offer, pending_invite_claim};
use crate::aggregates::user::{User, UserMode, Username, username_claim};
use crate::context::Context;
use crate::dispatch::{DispatchError, Failure, Operation, Stop, UnitOfWork};
use crate::ids::{AccountId, InviteId, UserId};

/// Gives a person who has just taken a name the invites that waited for it. Looks only when the name turned out to have
/// been somebody's before, or to be waited for, which the first decision does not know.
pub(super) async fn bind(
    work: &mut UnitOfWork<'_>,
    user: UserId,
    username: &Username,
    mode: UserMode,
) -> Result<(), Stop<Refusal>> {
    if work.attempt() == 0 {
        return Ok(());
    }
    let claim = username_claim(username, work.hasher());
    let Some(holder) = work.last_holder(&claim).await? else { return Ok(()) };
    work.succeed(claim, holder);
    let at = work.at();
    let waiting = work.reader().unbound_invites(username, mode, at).await.map_err(Failure::from)?;
    for invite in waiting {
        let state = work.load::<Invite>(invite.as_uuid()).await?;
        let Some(offer) = state.offer().filter(|offer| offer.is_pending(at)) else { continue };
        let theirs = pending_invite_claim(offer.account, Some(user), username, work.hasher());
        if work.holder(&theirs).await?.is_some() {
            // They have another one to the same account already; this one stays the name's.
            continue;
        }
        work.execute::<Invite, Refusal>(invite.as_uuid(), InviteCommand::Bind { user, at }).await?;
        work.bump(invites_to(user));
    }
    Ok(())
}

/// The offer behind an identifier.
async fn offer(work: &mut UnitOfWork<'_>, invite: InviteId) -> Result<Offer, Stop<Refusal>> {
    let invite = work.load::<Invite>(invite.as_uuid()).await?;
    invite.offer().cloned().ok_or(Stop::Refused(Refusal::NotFound(Thing::Invite)))
}

/// The person who has this name, if anybody has.
async fn known_person(work: &mut UnitOfWork<'_>, name: &Username) -> Result<Option<UserId>, Stop<Refusal>> {
    let claim = username_claim(name, work.hasher());
    let remembered = work.remembered_holder(&claim).and_then(|holder| holder.parse::<UserId>().ok());
    if let Some(user) = remembered {
        let state = work.load::<User>(user.as_uuid()).await?;
        let has_it = |known: &Username| known.fold() == name.fold();
        if state.registered().is_some_and(|person| person.username.open().is_some_and(has_it)) {
            return Ok(Some(user));
        }
    }
    let holder = work.holder(&claim).await?;
    Ok(match holder.and_then(|holder| holder.parse::<UserId>().ok()) {
        Some(user) if work.load::<User>(user.as_uuid()).await?.registered().is_some() => Some(user),
        _ => None,
    })
}

struct Create {
    id: InviteId,
    account: AccountId,
    invitee: Username,
    by: Option<UserId>,
    mode: UserMode,
    life: std::time::Duration,
    limits: Limits,
}

impl Operation for Create {
    type Answer = InviteId;
    type Refusal = Refusal;

    fn name(&self) -> &'static str {
        "create_invite"
    }

    async fn decide(&self, work: &mut UnitOfWork<'_>) -> Result<InviteId, Stop<Refusal>> {
        let account = accounts::open_account(work, self.account).await?;
        authority::owner(work, &account).await?;
        let inviter = authority::maker(authority::person(work), self.by).map_err(Stop::Refused)?;
        users::must_exist(work, inviter).await?;
        let bound = known_person(work, &self.invitee).await?;
        if let Some(user) = bound {
            if user == inviter {
                let rule = "somebody else than the inviter";
                return Err(Stop::Refused(Refusal::Invalid(Invalid { field: "invitee", rule })));
            }
            if account.includes(user) {
                return Err(Stop::Refused(Refusal::AlreadyMember));
            }
            work.bump(invites_to(user));
        }
        limits::room_for(work, Counted::PendingInvites(self.account), &self.limits).await?;
        let at = work.at();
        let command = InviteCommand::Create(CreateInvite {
            account: self.account,
            inviter,
            invitee: self.invitee.clone(),
            bound,
            mode: self.mode,
            at,
            expires_at: at.after(self.life),
        });
        work.create::<Invite, _>(self.id.as_uuid(), command)?;
        Ok(self.id)
    }

    fn claim_lost(&self, kind: &str, _: &str) -> Option<Refusal> {
        // Somebody has just registered the name: decide again, on them.
        (kind == "pending_invite").then_some(Refusal::DuplicatePendingInvite)
    }
}

/// What the person an invite is addressed to decides.
struct Decide {
    invite: InviteId,
    user: UserId,
    accept: bool,
}

impl Operation for Decide {
    type Answer = AccountId;
    type Refusal = Refusal;

    fn name(&self) -> &'static str {
        if self.accept { "accept_invite" } else { "decline_invite" }
    }

    async fn decide(&self, work: &mut UnitOfWork<'_>) -> Result<AccountId, Stop<Refusal>> {
        let offer = offer(work, self.invite).await?;
        authority::oneself(work, self.user).await?;
        let user = work.load::<User>(self.user.as_uuid()).await?;
        let theirs = user
            .registered()
            .is_some_and(|person| offer.is_for(self.user, person.username.open(), person.mode));
        if !theirs {
            return Err(Stop::Refused(Refusal::Forbidden));
        }
        let (user, at) = (self.user, work.at());
        let decision = if self.accept {
            InviteCommand::Accept { user, at }
        } else {
            InviteCommand::Decline { user, at }
        };
        work.execute::<Invite, Refusal>(self.invite.as_uuid(), decision).await?;
        work.bump(invites_to(user));
        if self.accept {
            let command = AccountCommand::AddMember { user, at };
            work.execute::<Account, Refusal>(offer.account.as_uuid(), command).await?;
            work.bump(accounts_of(user));
        }
        Ok(offer.account)
    }

    fn claim_lost(&self, _: &str, _: &str) -> Option<Refusal> {
        None
    }
}

struct Revoke {
    account: Option<AccountId>,
    invite: InviteId,
}

impl Operation for Revoke {
    type Answer = ();
    type Refusal = Refusal;

    fn name(&self) -> &'static str {
        "revoke_invite"
    }

    async fn decide(&self, work: &mut UnitOfWork<'_>) -> Result<(), Stop<Refusal>> {
        let offer = offer(work, self.invite).await?;
        if self.account.is_some_and(|account| account != offer.account) {
            return Err(Stop::Refused(Refusal::NotFound(Thing::Invite)));
        }
        let account = accounts::open_account(work, offer.account).await?;
        authority::owner(work, &account).await?;
        let command = InviteCommand::Revoke { at: work.at() };
        work.execute::<Invite, Refusal>(self.invite.as_uuid(), command).await?;
        Ok(())
    }

    fn claim_lost(&self, _: &str, _: &str) -> Option<Refusal> {
        None
    }
}

impl Tenure {
    /// Offers a person membership by their username, who need not have signed up yet; they must then sign in through
    /// GitHub. For the owner; whoever acts on the database says on whose behalf.
    ///
    /// # Errors
    /// `Invalid` (a malformed name, or oneself), `AlreadyMember`, `DuplicatePendingInvite`, `NotFound`, `Forbidden`.
    pub async fn create_invite(
        &self,
        context: &Context,
        account: AccountId,
        invitee: &str,
        by: Option<UserId>,
    ) -> Outcome<InviteId> {
        self.create_invite_for_mode(context, account, invitee, by, UserMode::Github).await
    }

    /// The same, for a person who will sign in this way, should nobody have the name yet.
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
        let operation = Create {
            id: self.new_id(InviteId::new),
            account,
            invitee: Username::chosen(invitee).map_err(named)?,
            by,
            mode,
            life: self.rules().invite_life,
            limits: self.rules().limits,
        };
        self.dispatcher().dispatch(context, &operation).await
    }

    /// Takes an invite: it is accepted and its person a member, or neither. Gives the account.
    ///
    /// # Errors
    /// In this order: `NotFound` (unknown), `Forbidden` (somebody else's), `InviteNotPending`.
    pub async fn accept_invite(
        &self,
        context: &Context,
        invite: InviteId,
        user: UserId,
    ) -> Outcome<AccountId> {
        self.dispatcher().dispatch(context, &Decide { invite, user, accept: true }).await
    }

    /// Turns an invite down.
    ///
    /// # Errors
    /// As [`Tenure::accept_invite`].
    pub async fn decline_invite(
        &self,
        context: &Context,
        invite: InviteId,
        user: UserId,
    ) -> Outcome<AccountId> {
        self.dispatcher().dispatch(context, &Decide { invite, user, accept: false }).await
    }

    /// Takes an invite back; another account's is not found if an account is named.
    ///
    /// # Errors
    /// `NotFound`, `InviteNotPending`, `Forbidden`.
    pub async fn revoke_invite(
        &self,
        context: &Context,
        account: Option<AccountId>,
        invite: InviteId,
    ) -> Outcome<()> {
        self.dispatcher().dispatch(context, &Revoke { account, invite }).await
    }
}
