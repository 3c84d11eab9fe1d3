//! One-time upgrades of a log that SQL cannot do because names are sealed.
//!
//! Users and accounts with ambiguous names are renamed, and the invitees of version 1 invites are resealed under the
//! key of the user or of the name.

use futures::{StreamExt as _, TryStreamExt as _};

use super::authority;
use super::refusal::Refusal;
use super::sign_in::{free_account_name, free_username};
use crate::Tenure;
use crate::aggregates::account::{Account, AccountCommand, AccountName};
use crate::aggregates::invite::{Invite, InviteCommand, InviteeKey, pending_invite_claim};
use crate::aggregates::user::{MAX_CLASHES, User, UserCommand, Username, invited_name_claim, username_claim};
use crate::context::{Actor, Context};
use crate::dispatch::{DecideError, DispatchError, Failure, Operation, UnitOfWork};
use crate::event_log::UpgradesDone;
use crate::ids::{AccountId, InviteId, NameKeyId, UserId};

/// How many rows are read at a time.
const PAGE: usize = 1_000;

/// How many invites are resealed concurrently: enough for the committer to store many in one batch.
const RESEALED_AT_ONCE: usize = 64;

struct RenameUser {
    user: UserId,
}

impl Operation for RenameUser {
    type Answer = ();
    type Refusal = Refusal;

    fn name(&self) -> &'static str {
        "rename_user"
    }

    async fn decide(&self, work: &mut UnitOfWork<'_>) -> Result<(), DecideError<Refusal>> {
        authority::require_operator(work).await?;
        let user = work.load::<User>(self.user.as_uuid()).await?;
        let name = user.registered().and_then(|person| person.username.open()).cloned();
        // The projection gave the candidate; the state decides, so that two nodes rename a user only once.
        let Some(name) = name.filter(Username::is_ambiguous) else { return Ok(()) };
        let to = free_username(work, (2..MAX_CLASHES).map(|number| name.with_clash(number))).await?;
        let command = UserCommand::Rename { to, at: work.at() };
        work.execute::<User, Refusal>(self.user.as_uuid(), command).await?;
        Ok(())
    }
}

struct RenameAccount {
    account: AccountId,
}

impl Operation for RenameAccount {
    type Answer = ();
    type Refusal = Refusal;

    fn name(&self) -> &'static str {
        "rename_account"
    }

    async fn decide(&self, work: &mut UnitOfWork<'_>) -> Result<(), DecideError<Refusal>> {
        authority::require_operator(work).await?;
        let account = work.load::<Account>(self.account.as_uuid()).await?;
        let Some(account) = account.open() else { return Ok(()) };
        let name = account.name.open().cloned();
        let Some(name) = name.filter(AccountName::is_ambiguous) else { return Ok(()) };
        let to = free_account_name(work, name.as_str()).await?;
        let command = AccountCommand::Rename { to, at: work.at() };
        work.execute::<Account, Refusal>(self.account.as_uuid(), command).await?;
        Ok(())
    }
}

struct ResealInvitee {
    invite: InviteId,
}

impl Operation for ResealInvitee {
    type Answer = ();
    type Refusal = Refusal;

    fn name(&self) -> &'static str {
        "reseal_invitee"
    }

    async fn decide(&self, work: &mut UnitOfWork<'_>) -> Result<(), DecideError<Refusal>> {
        authority::require_operator(work).await?;
        let (id, at) = (self.invite.as_uuid(), work.at());
        let invite = work.load::<Invite>(id).await?;
        // An offer with a key is not of version 1 or was resealed by an earlier, interrupted start.
        let Some(offer) = invite.offer().filter(|offer| offer.invitee_key.is_none()) else { return Ok(()) };
        // Unreadable: its key has been destroyed, so there is no name left to seal.
        let Some(name) = offer.invitee.open() else { return Ok(()) };
        let holder = match offer.bound {
            Some(user) => Some(user),
            None => work.holder(&username_claim(name, work.hasher())).await?.and_then(|id| id.parse().ok()),
        };
        let invitee_key = if let Some(user) = holder
            && work.load::<User>(user.as_uuid()).await?.registered().is_some()
        {
            let theirs = pending_invite_claim(offer.account, InviteeKey::User(user), work.hasher());
            if offer.bound.is_none() && offer.is_pending(at) && work.holder(&theirs).await?.is_some() {
                // A user can have only one pending invite to an account, and this user already has another.
                work.execute::<Invite, Refusal>(id, InviteCommand::Revoke { at }).await?;
            }
            InviteeKey::User(user)
        } else {
            let key = work.holder(&invited_name_claim(name, work.hasher())).await?;
            match key.and_then(|key| key.parse().ok()) {
                Some(id) => InviteeKey::Name { id, begins: false },
                None => InviteeKey::Name { id: NameKeyId::new(at, work.entropy()), begins: true },
            }
        };
        work.execute::<Invite, Refusal>(id, InviteCommand::ResealInvitee { invitee_key, at }).await?;
        Ok(())
    }
}

impl Tenure {
    /// Runs the upgrades that this log still needs, each only once. Safe to repeat after an interrupted start.
    ///
    /// # Errors
    /// `Failed` if the database cannot be read or written to.
    pub(crate) async fn upgrade_once(&self) -> Result<(), DispatchError<Refusal>> {
        let read = |error| DispatchError::Failed(Failure::Read(error));
        let done = self.log().upgrades_done().await.map_err(read)?;
        let context = Context::of(Actor::System);
        if !done.names_checked {
            self.rename_ambiguous_users(&context).await?;
            self.rename_ambiguous_accounts(&context).await?;
        }
        if !done.invites_resealed {
            self.reseal_invitees(&context).await?;
        }
        // Recorded last: an upgrade that was interrupted runs again at the next start.
        if done == (UpgradesDone { names_checked: true, invites_resealed: true }) {
            return Ok(());
        }
        self.log().record_upgrades_done().await.map_err(read)
    }

    async fn rename_ambiguous_users(&self, context: &Context) -> Result<(), DispatchError<Refusal>> {
        let mut after = UserId::from_uuid(uuid::Uuid::nil());
        loop {
            let page = self.reader().users_after(after, PAGE).await.map_err(query)?;
            for user in &page {
                if crate::aggregates::field::is_ambiguous(&user.username) {
                    self.dispatcher().dispatch(context, &RenameUser { user: user.id }).await?;
                    tracing::warn!(user = %user.id, "renamed a user whose name was ambiguous");
                }
            }
            match page.last() {
                Some(last) if page.len() == PAGE => after = last.id,
                _ => return Ok(()),
            }
        }
    }

    async fn rename_ambiguous_accounts(&self, context: &Context) -> Result<(), DispatchError<Refusal>> {
        let mut after = String::new();
        loop {
            let page = self.reader().accounts_after(&after, PAGE).await.map_err(query)?;
            for account in &page {
                if crate::aggregates::field::is_ambiguous(&account.name) {
                    self.dispatcher().dispatch(context, &RenameAccount { account: account.id }).await?;
                    tracing::warn!(account = %account.id, "renamed an account whose name was ambiguous");
                }
            }
            match page.last() {
                Some(last) if page.len() == PAGE => after.clone_from(&last.name),
                _ => return Ok(()),
            }
        }
    }

    async fn reseal_invitees(&self, context: &Context) -> Result<(), DispatchError<Refusal>> {
        let mut after = InviteId::from_uuid(uuid::Uuid::nil());
        let mut looked_at = 0;
        loop {
            let page = self.reader().invites_by_id_after(after, PAGE).await.map_err(query)?;
            futures::stream::iter(page.iter().copied())
                .map(|invite| async move {
                    self.dispatcher().dispatch(context, &ResealInvitee { invite }).await.map(drop)
                })
                .buffer_unordered(RESEALED_AT_ONCE)
                .try_collect::<()>()
                .await?;
            match page.last() {
                Some(last) if page.len() == PAGE => after = *last,
                _ => return Ok(()),
            }
            looked_at += page.len();
            tracing::info!(looked_at, "resealing the invitees of old invites");
        }
    }
}

fn query(error: crate::projections::QueryError) -> DispatchError<Refusal> {
    DispatchError::Failed(Failure::from(error))
}
