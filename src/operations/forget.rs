//! Forgets users: their personal data in the log becomes unreadable, here and after every rebuild.

use super::refusal::{Refusal, Resource};
use super::{EndedKeys, NAMED_KEYS, Outcome, accounts_of, authority};
use crate::Tenure;
use crate::aggregates::user::{User, UserCommand};
use crate::context::{Actor, Context};
use crate::dispatch::{DecideError, DispatchError, Failure, Operation, UnitOfWork};
use crate::event_log::ReadError;
use crate::ids::UserId;

struct ForgetUser {
    user: UserId,
}

impl Operation for ForgetUser {
    type Answer = EndedKeys;
    type Refusal = Refusal;

    fn name(&self) -> &'static str {
        "forget_user"
    }

    async fn decide(&self, work: &mut UnitOfWork<'_>) -> Result<Self::Answer, DecideError<Refusal>> {
        let user = self.user;
        authority::require_self(work, user).await?;
        match &*work.load::<User>(user.as_uuid()).await? {
            User::Forgotten => return Ok(EndedKeys::default()),
            User::Unknown => return Err(DecideError::Refused(Refusal::NotFound(Resource::User))),
            User::Registered(_) if user == UserId::UNAUTHENTICATED => {
                return Err(DecideError::Refused(Refusal::Forbidden));
            }
            User::Registered(_) => {}
        }
        // Guard before count: an account opened for or transferred to the user meanwhile must be a conflict.
        work.read_guard(accounts_of(user)).await?;
        let reader = work.reader().clone();
        if reader.count_of_accounts(user).await.map_err(Failure::from)? > 0 {
            return Err(DecideError::Refused(Refusal::OwnsAccounts));
        }
        let keys = reader.api_keys_of_member(user, NAMED_KEYS).await.map_err(Failure::from)?;
        work.execute::<User, Refusal>(user.as_uuid(), UserCommand::Forget { at: work.at() }).await?;
        Ok(keys.into())
    }
}

impl Tenure {
    /// Forgets a user, in one event of constant size; for the user and operators. Ends the user's sessions, tokens,
    /// memberships and invites, and the API keys minted where the user is a member; returns the number of those keys
    /// and the first of them. Destroys the user's data key and the name keys the user has taken over, and frees the
    /// names. The remaining rows are cleared away later. No event if the user is forgotten already.
    ///
    /// # Errors
    /// `OwnsAccounts`, `NotFound`, `Forbidden`.
    pub async fn forget_user(&self, context: &Context, user: UserId) -> Outcome<EndedKeys> {
        let done = self.dispatcher().dispatch(context, &ForgetUser { user }).await?;
        // After the commit: the next start forgets every listed user, so a user who was refused must not be listed.
        self.list_as_forgotten(user).await;
        Ok(done)
    }

    /// Adds a user to the list of forgotten users, a file outside the database. A failure is only logged: the next
    /// start adds the missing users.
    pub(crate) async fn list_as_forgotten(&self, user: UserId) {
        let Some(list) = self.forgotten_list().cloned() else { return };
        let added = tokio::task::spawn_blocking(move || list.add(&[user])).await;
        if let Ok(Err(error)) = added {
            tracing::error!(%user, %error, "could not write the list of forgotten users; the next start will write it");
        }
    }

    /// Reconciles the log with the list of forgotten users. Users on the list are forgotten again, which matters after
    /// a backup is restored; users forgotten in the log but missing from the list are added. Returns how many users
    /// were forgotten again.
    ///
    /// # Errors
    /// `Failed` if the list or the database cannot be read or written. A listed user who owns accounts is not
    /// forgotten; that is logged and no error.
    pub async fn repeat_forgettings(&self) -> Result<usize, DispatchError<Refusal>> {
        let Some(list) = self.forgotten_list() else { return Ok(0) };
        let failed = |error: std::io::Error| {
            DispatchError::Failed(Failure::Read(ReadError::Unavailable(Box::new(error))))
        };
        let read = |error| DispatchError::Failed(Failure::from(error));
        let listed: Vec<UserId> = list.read().map_err(failed)?.into_iter().collect();
        let (mut again, mut on_both) = (0, 0);
        for some in listed.chunks(LISTED_AT_ONCE) {
            // Users who registered after the backup was made are unknown here: there is nothing to forget.
            for user in self.reader().still_known(some).await.map_err(read)? {
                match self.forget_user(&Context::of(Actor::System), user).await {
                    Ok(done) => again += usize::from(!done.events.is_empty()),
                    // The user owns accounts in the backup. An operator must transfer or close them, and could not if
                    // this stopped the start.
                    Err(DispatchError::Refused(refusal)) => {
                        tracing::error!(%user, %refusal, "could not forget a listed user; fix the cause and restart");
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        for some in listed.chunks(LISTED_AT_ONCE) {
            on_both += self.reader().count_of_forgotten_among(some).await.map_err(read)?;
        }
        // Compare counts first: reading all forgotten users is needed only when the list lacks some.
        if on_both < self.reader().count_of_forgotten_users().await.map_err(read)? {
            let mut after = 0;
            loop {
                let page = self.reader().forgotten_users_after(after, LISTED_AT_ONCE).await.map_err(read)?;
                let users: Vec<UserId> = page.iter().map(|(user, _)| *user).collect();
                list.add(&users).map_err(failed)?;
                match page.last() {
                    Some((_, position)) if page.len() == LISTED_AT_ONCE => after = *position,
                    _ => break,
                }
            }
        }
        Ok(again)
    }
}

/// How many users on the list are looked up at a time.
const LISTED_AT_ONCE: usize = 5_000;
