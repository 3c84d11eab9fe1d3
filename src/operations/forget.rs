//! Forgetting a person: what the log says of them becomes unreadable, here and in every rebuild.

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
    /// Forgets a person, for themselves or an operator, in one event, whatever others have made: ends their sessions, tokens,
    /// memberships and invites, and the API keys that they have minted where they were members (says how many, and names
    /// the first); destroys their key and those of the names that they have had, and frees their names. The rows that they
    /// leave behind are cleared away afterwards. Again: no event.
    ///
    /// # Errors
    /// `OwnsAccounts`, `NotFound`, `Forbidden`.
    pub async fn forget_user(&self, context: &Context, user: UserId) -> Outcome<EndedKeys> {
        let done = self.dispatcher().dispatch(context, &ForgetUser { user }).await?;
        self.list_as_forgotten(user).await;
        Ok(done)
    }

    /// Puts somebody on the list outside the database.
    pub(crate) async fn list_as_forgotten(&self, user: UserId) {
        let Some(list) = self.forgotten_list().cloned() else { return };
        let added = tokio::task::spawn_blocking(move || list.add(&[user])).await;
        if let Ok(Err(error)) = added {
            tracing::error!(%user, %error, "the list of the forgotten could not be written; it is written at the next start");
        }
    }

    /// Brings the log and the list of the forgotten together: whoever is on the list is forgotten again, as after a
    /// restored backup, and where the list has fewer than the log, they are added. Gives how many were forgotten again.
    ///
    /// # Errors
    /// The list or the database cannot be read or written. Whoever on the list owns accounts stays known, and the log of
    /// the node says so.
    pub async fn repeat_forgettings(&self) -> Result<usize, DispatchError<Refusal>> {
        let Some(list) = self.forgotten_list() else { return Ok(0) };
        let failed = |error: std::io::Error| {
            DispatchError::Failed(Failure::Read(ReadError::Unavailable(Box::new(error))))
        };
        let read = |error| DispatchError::Failed(Failure::from(error));
        let listed: Vec<UserId> = list.read().map_err(failed)?.into_iter().collect();
        let (mut again, mut on_both) = (0, 0);
        for some in listed.chunks(LISTED_AT_ONCE) {
            // Registered after the backup was made: there is nothing to forget.
            for user in self.reader().still_known(some).await.map_err(read)? {
                match self.forget_user(&Context::of(Actor::System), user).await {
                    Ok(done) => again += usize::from(!done.events.is_empty()),
                    // In the backup they own accounts: somebody has to say whose those are, and cannot if nothing starts.
                    Err(DispatchError::Refused(refusal)) => {
                        tracing::error!(%user, %refusal, "a person on the list of the forgotten is still known");
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        for some in listed.chunks(LISTED_AT_ONCE) {
            on_both += self.reader().count_of_forgotten_among(some).await.map_err(read)?;
        }
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

/// How many people on the list are looked up at a time.
const LISTED_AT_ONCE: usize = 5_000;
