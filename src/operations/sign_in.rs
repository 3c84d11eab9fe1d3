//! Signs users in through GitHub. The first sign-in registers the user and opens a first account, in one atomic step.

use serde::{Deserialize, Serialize};

use super::refusal::{Refusal, Resource};
use super::registration::bind_pending_invites;
use super::{Outcome, accounts_of};
use crate::Tenure;
use crate::aggregates::account::{Account, AccountCommand, AccountName, account_name_claim};
use crate::aggregates::user::{
    AvatarUrl, Email, GithubId, GithubLogin, MAX_CLASHES, NewUser, Profile, User, UserCommand, UserMode,
    Username, github_id_claim, username_claim,
};
use crate::context::Context;
use crate::dispatch::{DecideError, DispatchError, Operation, UnitOfWork};
use crate::ids::{AccountId, UserId};

/// The result of a sign-in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedIn {
    /// The user who signed in.
    pub user: UserId,
    /// Whether this sign-in registered the user.
    pub created: bool,
    /// The account opened by this sign-in; `None` if the user already had one or none was wanted.
    pub first_account: Option<AccountId>,
}

struct GithubSignIn {
    github_id: GithubId,
    profile: Profile,
    /// The identifier for the user, if this sign-in registers one.
    fresh_user: UserId,
    /// The identifier for a first account, if the user has none; `None` to open no account.
    fresh_account: Option<AccountId>,
}

impl GithubSignIn {
    async fn register(&self, work: &mut UnitOfWork<'_>) -> Result<UserId, DecideError<Refusal>> {
        let login = &self.profile.login;
        let username = free_username(work, login.usernames()).await?;
        let person = NewUser {
            username: username.clone(),
            email: self.profile.email.clone(),
            mode: UserMode::Github,
            github: Some((self.github_id, login.clone())),
            avatar_url: self.profile.avatar_url.clone(),
            at: work.at(),
        };
        work.create::<User, _>(self.fresh_user.as_uuid(), UserCommand::Register(person))?;
        bind_pending_invites(work, self.fresh_user, &username, UserMode::Github).await?;
        Ok(self.fresh_user)
    }

    async fn refresh(&self, work: &mut UnitOfWork<'_>, user: UserId) -> Result<(), DecideError<Refusal>> {
        let state = work.load::<User>(user.as_uuid()).await?;
        let login_changed = state.registered().is_some_and(|person| {
            person.github_login.open().is_some_and(|known| known.as_ref() != Some(&self.profile.login))
        });
        // Follow a changed GitHub login only if its name is free; otherwise the user keeps the old username.
        let rename_to = match self.profile.login.as_username().filter(|_| login_changed) {
            Some(wanted) => {
                let holder = work.holder(&username_claim(&wanted, work.hasher())).await?;
                holder.is_none_or(|holder| holder == user.to_string()).then_some(wanted)
            }
            None => None,
        };
        let renamed = rename_to.clone();
        let command = UserCommand::RefreshProfile { profile: self.profile.clone(), rename_to, at: work.at() };
        work.execute::<User, Refusal>(user.as_uuid(), command).await?;
        if let Some(username) = renamed {
            bind_pending_invites(work, user, &username, UserMode::Github).await?;
        }
        Ok(())
    }

    async fn open_first_account(
        &self,
        work: &mut UnitOfWork<'_>,
        user: UserId,
        account: AccountId,
    ) -> Result<(), DecideError<Refusal>> {
        let name = free_account_name(work, self.profile.login.as_str()).await?;
        work.create::<Account, _>(
            account.as_uuid(),
            AccountCommand::Open { name, owner: user, at: work.at() },
        )?;
        work.bump_guard(accounts_of(user));
        Ok(())
    }
}

impl Operation for GithubSignIn {
    type Answer = SignedIn;
    type Refusal = Refusal;

    fn name(&self) -> &'static str {
        if self.fresh_account.is_some() { "sign_in_with_github" } else { "upsert_github_user" }
    }

    async fn decide(&self, work: &mut UnitOfWork<'_>) -> Result<SignedIn, DecideError<Refusal>> {
        let known = work.holder(&github_id_claim(self.github_id, work.hasher())).await?;
        let Some(holder) = known else {
            let user = self.register(work).await?;
            if let Some(account) = self.fresh_account {
                self.open_first_account(work, user, account).await?;
            }
            return Ok(SignedIn { user, created: true, first_account: self.fresh_account });
        };
        // The holder of a GitHub ID is always a user, so this parse fails only on a corrupt claim.
        let user: UserId =
            holder.parse().map_err(|_| DecideError::Refused(Refusal::NotFound(Resource::User)))?;
        self.refresh(work, user).await?;
        let mut first_account = None;
        if let Some(account) = self.fresh_account {
            // Guard before the query: concurrent sign-ins must not open two first accounts.
            work.read_guard(accounts_of(user)).await?;
            if work
                .reader()
                .accounts_for_user_after(user, "", 1)
                .await
                .map_err(crate::dispatch::Failure::from)?
                .is_empty()
            {
                self.open_first_account(work, user, account).await?;
                first_account = Some(account);
            }
        }
        Ok(SignedIn { user, created: false, first_account })
    }
}

/// The first of these usernames that is free, or `UsernameTaken`.
pub(super) async fn free_username(
    work: &UnitOfWork<'_>,
    wanted: impl Iterator<Item = Username>,
) -> Result<Username, DecideError<Refusal>> {
    for name in wanted {
        // Not a premise: if the name is taken meanwhile, the claim is lost and the operation decides again.
        if work.holder(&username_claim(&name, work.hasher())).await?.is_none() {
            return Ok(name);
        }
    }
    Err(DecideError::Refused(Refusal::UsernameTaken))
}

/// A free account name: `wanted`, or `wanted` with a number appended. `AccountNameTaken` if all are taken.
pub(super) async fn free_account_name(
    work: &UnitOfWork<'_>,
    wanted: &str,
) -> Result<AccountName, DecideError<Refusal>> {
    let mut candidate = wanted.to_owned();
    for number in 2..MAX_CLASHES {
        // A login can be an invalid account name, such as `me` or a UUID; then only a numbered one is valid.
        if let Ok(name) = AccountName::parse(&candidate)
            && work.holder(&account_name_claim(&name, work.hasher())).await?.is_none()
        {
            return Ok(name);
        }
        candidate = format!("{wanted}-{number}");
    }
    Err(DecideError::Refused(Refusal::AccountNameTaken))
}

impl Tenure {
    /// Finds or registers the user with this GitHub ID and refreshes their GitHub profile.
    ///
    /// # Errors
    /// `Invalid`; `UsernameTaken` if the login and all its variants are taken.
    pub async fn upsert_user_by_github_id(
        &self,
        context: &Context,
        github_id: i64,
        login: &str,
        email: Option<&str>,
        avatar_url: Option<&str>,
    ) -> Outcome<SignedIn> {
        self.github(context, github_id, login, email, avatar_url, None).await
    }

    /// Signs a user in through GitHub. Registers the user the first time, and opens a first account, named after the
    /// GitHub login, if the user has none.
    ///
    /// # Errors
    /// `Invalid`; `UsernameTaken` or `AccountNameTaken` if the login and all its variants are taken.
    pub async fn sign_in_with_github(
        &self,
        context: &Context,
        github_id: i64,
        login: &str,
        email: Option<&str>,
        avatar_url: Option<&str>,
    ) -> Outcome<SignedIn> {
        let account = self.new_id(AccountId::new);
        self.github(context, github_id, login, email, avatar_url, Some(account)).await
    }

    async fn github(
        &self,
        context: &Context,
        github_id: i64,
        login: &str,
        email: Option<&str>,
        avatar_url: Option<&str>,
        fresh_account: Option<AccountId>,
    ) -> Outcome<SignedIn> {
        let read = || {
            let profile = Profile {
                login: GithubLogin::parse(login)?,
                email: email.map(Email::parse).transpose()?,
                avatar_url: avatar_url.map(AvatarUrl::parse).transpose()?,
            };
            Ok((GithubId::new(github_id)?, profile))
        };
        let (github_id, profile) =
            read().map_err(|invalid| DispatchError::Refused(Refusal::Invalid(invalid)))?;
        let operation =
            GithubSignIn { github_id, profile, fresh_user: self.new_id(UserId::new), fresh_account };
        self.dispatcher().dispatch(context, &operation).await
    }

    /// Claims a one-time value, such as an OAuth state, by its digest. `false` if any node has claimed it before; it is
    /// remembered until `until`.
    ///
    /// # Errors
    /// `Failed` if the database cannot be written to.
    pub async fn claim_once(
        &self,
        digest: &[u8; 32],
        until: crate::clock::Timestamp,
    ) -> Result<bool, DispatchError<Refusal>> {
        let first = self.coarse().claim_once(digest, self.clock().now(), until).await;
        first.map_err(|error| DispatchError::Failed(crate::dispatch::Failure::Read(error)))
    }
}
