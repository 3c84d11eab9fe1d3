//! Names that earlier releases allowed and that could be taken for something else: each gives way to another, once.

use super::authority;
use super::refusal::Refusal;
use super::sign_in::{free_account_name, free_username};
use crate::Tenure;
use crate::aggregates::account::{Account, AccountCommand, AccountName};
use crate::aggregates::user::{MAX_CLASHES, User, UserCommand, Username};
use crate::context::{Actor, Context};
use crate::dispatch::{DispatchError, Failure, Operation, Stop, UnitOfWork};
use crate::ids::{AccountId, UserId};

/// How many are looked at at a time.
const PAGE: usize = 1_000;

struct RenameUser {
    user: UserId,
}

impl Operation for RenameUser {
    type Answer = ();
    type Refusal = Refusal;

    fn name(&self) -> &'static str {
        "rename_user"
    }

    async fn decide(&self, work: &mut UnitOfWork<'_>) -> Result<(), Stop<Refusal>> {
        authority::operator(work).await?;
        let user = work.load::<User>(self.user.as_uuid()).await?;
        let name = user.registered().and_then(|person| person.username.open()).cloned();
        let Some(name) = name.filter(Username::is_ambiguous) else { return Ok(()) };
        let to = free_username(work, (2..MAX_CLASHES).map(|number| name.with_clash(number))).await?;
        let command = UserCommand::Rename { to, at: work.at() };
        work.execute::<User, Refusal>(self.user.as_uuid(), command).await?;
        Ok(())
    }

    /// Somebody has just taken the name: try the next one.
    fn claim_lost(&self, _: &str, _: &str) -> Option<Refusal> {
        None
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

    async fn decide(&self, work: &mut UnitOfWork<'_>) -> Result<(), Stop<Refusal>> {
        authority::operator(work).await?;
        let account = work.load::<Account>(self.account.as_uuid()).await?;
        let Some(account) = account.open() else { return Ok(()) };
        let name = account.name.open().cloned();
        let Some(name) = name.filter(AccountName::is_ambiguous) else { return Ok(()) };
        let to = free_account_name(work, name.as_str()).await?;
        let command = AccountCommand::Rename { to, at: work.at() };
        work.execute::<Account, Refusal>(self.account.as_uuid(), command).await?;
        Ok(())
    }

    /// Somebody has just taken the name: try the next one.
    fn claim_lost(&self, _: &str, _: &str) -> Option<Refusal> {
        None
    }
}

impl Tenure {
    /// Renames, once a log, whoever has a name of before that could be taken for something else; says so in the log of
    /// this process, by identifier.
    ///
    /// # Errors
    /// The database cannot be read or written to.
    pub(crate) async fn rename_the_ambiguous(&self) -> Result<(), DispatchError<Refusal>> {
        let read = |error| DispatchError::Failed(Failure::Read(error));
        let ask = |error| DispatchError::Failed(Failure::from(error));
        if self.log().names_checked().await.map_err(read)? {
            return Ok(());
        }
        let context = Context::of(Actor::System);
        let mut after = UserId::from_uuid(uuid::Uuid::nil());
        loop {
            let page = self.reader().users_after(after, PAGE).await.map_err(ask)?;
            for user in &page {
                if crate::aggregates::field::is_ambiguous(&user.username) {
                    self.dispatcher().dispatch(&context, &RenameUser { user: user.id }).await?;
                    tracing::warn!(user = %user.id, "a person's name could be taken for something else: it has a suffix now");
                }
            }
            match page.last() {
                Some(last) if page.len() == PAGE => after = last.id,
                _ => break,
            }
        }
        let mut after = String::new();
        loop {
            let page = self.reader().accounts_after(&after, PAGE).await.map_err(ask)?;
            for account in &page {
                if crate::aggregates::field::is_ambiguous(&account.name) {
                    self.dispatcher().dispatch(&context, &RenameAccount { account: account.id }).await?;
                    tracing::warn!(account = %account.id, "an account's name could be taken for something else: it has a suffix now");
                }
            }
            match page.last() {
                Some(last) if page.len() == PAGE => after.clone_from(&last.name),
                _ => break,
            }
        }
        self.log().have_checked_names().await.map_err(read)
    }
}
