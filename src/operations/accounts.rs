//! Tenants: opening and closing them, their members, their owner.

use super::refusal::{Refusal, Thing};
use super::{Outcome, accounts_of, authority, users};
use crate::Tenure;
use crate::aggregates::account::{Account, AccountCommand, AccountName, Open};
use crate::context::Context;
use crate::dispatch::{DispatchError, Operation, Stop, UnitOfWork};
use crate::ids::{AccountId, UserId};

/// The living account, or `NotFound`.
async fn open_account(work: &mut UnitOfWork<'_>, account: AccountId) -> Result<Open, Stop<Refusal>> {
    let account = work.load::<Account>(account.as_uuid()).await?;
    account.open().cloned().ok_or(Stop::Refused(Refusal::NotFound(Thing::Account)))
}

struct OpenAccount {
    id: AccountId,
    name: AccountName,
    owner: Option<UserId>,
}

impl Operation for OpenAccount {
    type Answer = AccountId;
    type Refusal = Refusal;

    async fn decide(&self, work: &mut UnitOfWork<'_>) -> Result<AccountId, Stop<Refusal>> {
        let owner = self.owner.unwrap_or(UserId::UNAUTHENTICATED);
        if authority::person(work) != Some(owner) {
            authority::operator(work).await?;
        }
        users::must_exist(work, owner).await?;
        let command = AccountCommand::Open { name: self.name.clone(), owner, at: work.at() };
        work.create::<Account, _>(self.id.as_uuid(), command)?;
        work.bump(accounts_of(owner));
        Ok(self.id)
    }

    fn claim_lost(&self, _: &str) -> Option<Refusal> {
        Some(Refusal::AccountNameTaken)
    }
}

struct AddMember {
    account: AccountId,
    user: UserId,
}

impl Operation for AddMember {
    type Answer = ();
    type Refusal = Refusal;

    async fn decide(&self, work: &mut UnitOfWork<'_>) -> Result<(), Stop<Refusal>> {
        let account = open_account(work, self.account).await?;
        authority::owner(work, &account).await?;
        users::must_exist(work, self.user).await?;
        let command = AccountCommand::AddMember { user: self.user, at: work.at() };
        work.execute::<Account, Refusal>(self.account.as_uuid(), command).await?;
        work.bump(accounts_of(self.user));
        Ok(())
    }

    fn claim_lost(&self, _: &str) -> Option<Refusal> {
        None
    }
}

struct RemoveMember {
    account: AccountId,
    user: UserId,
}

impl Operation for RemoveMember {
    type Answer = ();
    type Refusal = Refusal;

    async fn decide(&self, work: &mut UnitOfWork<'_>) -> Result<(), Stop<Refusal>> {
        let account = open_account(work, self.account).await?;
        let leaving = authority::person(work) == Some(self.user) && account.includes(self.user);
        if !leaving {
            authority::owner(work, &account).await?;
        }
        let command = AccountCommand::RemoveMember { user: self.user, at: work.at() };
        work.execute::<Account, Refusal>(self.account.as_uuid(), command).await?;
        work.bump(accounts_of(self.user));
        Ok(())
    }

    fn claim_lost(&self, _: &str) -> Option<Refusal> {
        None
    }
}

struct TransferOwnership {
    account: AccountId,
    to: UserId,
}

impl Operation for TransferOwnership {
    type Answer = ();
    type Refusal = Refusal;

    async fn decide(&self, work: &mut UnitOfWork<'_>) -> Result<(), Stop<Refusal>> {
        let account = open_account(work, self.account).await?;
        authority::owner(work, &account).await?;
        let command = AccountCommand::TransferOwnership { to: self.to, at: work.at() };
        work.execute::<Account, Refusal>(self.account.as_uuid(), command).await?;
        work.bump(accounts_of(account.owner));
        work.bump(accounts_of(self.to));
        Ok(())
    }

    fn claim_lost(&self, _: &str) -> Option<Refusal> {
        None
    }
}

struct CloseAccount {
    account: AccountId,
}

impl Operation for CloseAccount {
    type Answer = ();
    type Refusal = Refusal;

    async fn decide(&self, work: &mut UnitOfWork<'_>) -> Result<(), Stop<Refusal>> {
        let account = open_account(work, self.account).await?;
        authority::owner(work, &account).await?;
        let command = AccountCommand::Close { at: work.at() };
        work.execute::<Account, Refusal>(self.account.as_uuid(), command).await?;
        for user in account.members.keys().chain([&account.owner]) {
            work.bump(accounts_of(*user));
        }
        Ok(())
    }

    fn claim_lost(&self, _: &str) -> Option<Refusal> {
        None
    }
}

impl Tenure {
    /// Opens an account; without an owner it belongs to the seeded user, which only operators may ask for.
    ///
    /// # Errors
    /// `Invalid`, `AccountNameTaken`, `NotFound` (unknown owner), `Forbidden`.
    pub async fn open_account(
        &self,
        context: &Context,
        name: &str,
        owner: Option<UserId>,
    ) -> Outcome<AccountId> {
        let name = AccountName::parse(name).map_err(|invalid| DispatchError::Refused(invalid.into()))?;
        let operation = OpenAccount { id: self.new_id(AccountId::new), name, owner };
        self.dispatcher().dispatch(context, &operation).await
    }

    /// Makes a user a member; no event for who belongs to the account already.
    ///
    /// # Errors
    /// `NotFound`, `Forbidden`.
    pub async fn add_member(&self, context: &Context, account: AccountId, user: UserId) -> Outcome<()> {
        self.dispatcher().dispatch(context, &AddMember { account, user }).await
    }

    /// Ends a membership; members may leave by themselves.
    ///
    /// # Errors
    /// `CannotRemoveOwner`, `NotFound`, `Forbidden`.
    pub async fn remove_member(&self, context: &Context, account: AccountId, user: UserId) -> Outcome<()> {
        self.dispatcher().dispatch(context, &RemoveMember { account, user }).await
    }

    /// Makes a member the owner, and the owner a member.
    ///
    /// # Errors
    /// `NotFound`, `Forbidden`.
    pub async fn transfer_ownership(&self, context: &Context, account: AccountId, to: UserId) -> Outcome<()> {
        self.dispatcher().dispatch(context, &TransferOwnership { account, to }).await
    }

    /// Ends an account: its name is free again, and what it sealed is unreadable from then on.
    ///
    /// # Errors
    /// `NotFound`, `Forbidden`.
    pub async fn close_account(&self, context: &Context, account: AccountId) -> Outcome<()> {
        self.dispatcher().dispatch(context, &CloseAccount { account }).await
    }
}
