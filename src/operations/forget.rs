//! Forgetting a person: what the log says of them becomes unreadable, here and in every rebuild.

use uuid::Uuid;

use super::refusal::{Refusal, Thing};
use super::{Outcome, accounts, accounts_of, authority, credentials_of, invites_to};
use crate::Tenure;
use crate::aggregates::bearer_token::{BearerToken, BearerTokenCommand};
use crate::aggregates::invite::{Invite, InviteCommand};
use crate::aggregates::session::{Session, SessionCommand};
use crate::aggregates::user::{User, UserCommand};
use crate::context::{Actor, Context};
use crate::dispatch::{DispatchError, Failure, Operation, Stop, UnitOfWork};
use crate::event_log::ReadError;
use crate::ids::{ApiKeyId, UserId};

struct Forget {
    user: UserId,
}

impl Operation for Forget {
    type Answer = (Vec<ApiKeyId>, Vec<Uuid>);
    type Refusal = Refusal;

    fn name(&self) -> &'static str {
        "forget_user"
    }

    async fn decide(&self, work: &mut UnitOfWork<'_>) -> Result<Self::Answer, Stop<Refusal>> {
        let user = self.user;
        authority::oneself(work, user).await?;
        match &*work.load::<User>(user.as_uuid()).await? {
            User::Forgotten => return Ok((Vec::new(), Vec::new())),
            User::Unknown => return Err(Stop::Refused(Refusal::NotFound(Thing::User))),
            User::Registered(_) if user == UserId::UNAUTHENTICATED => {
                return Err(Stop::Refused(Refusal::Forbidden));
            }
            User::Registered(_) => {}
        }
        let (at, reader) = (work.at(), work.reader().clone());
        work.read_guard(accounts_of(user)).await?;
        let memberships = reader.accounts_for_user(user).await.map_err(Failure::from)?;
        if memberships.iter().any(|account| account.owner_user_id == user) {
            return Err(Stop::Refused(Refusal::OwnsAccounts));
        }
        let mut keys = Vec::new();
        for account in memberships {
            keys.extend(accounts::end_membership(work, account.id, user, true).await?);
        }
        work.read_guard(credentials_of(user)).await?;
        let mut gone = Vec::new();
        for token in reader.bearer_tokens_for_user(user).await.map_err(Failure::from)? {
            gone.push(token.id.as_uuid());
            let command = BearerTokenCommand::Revoke { at };
            work.execute::<BearerToken, Refusal>(token.id.as_uuid(), command).await?;
        }
        for session in reader.sessions_for_user(user).await.map_err(Failure::from)? {
            let command = SessionCommand::End { at };
            work.execute::<Session, Refusal>(session.id.as_uuid(), command).await?;
        }
        work.read_guard(invites_to(user)).await?;
        for invite in reader.invites_of_user(user).await.map_err(Failure::from)? {
            let command = InviteCommand::ForgetInvitee { at };
            work.execute::<Invite, Refusal>(invite.as_uuid(), command).await?;
        }
        work.execute::<User, Refusal>(user.as_uuid(), UserCommand::Forget { at }).await?;
        Ok((keys, gone))
    }

    fn claim_lost(&self, _: &str, _: &str) -> Option<Refusal> {
        None
    }
}

impl Tenure {
    /// Forgets a person, for themselves or an operator: ends their sessions, tokens, memberships and invites, revokes the
    /// API keys that they have minted where they were members (and gives those), destroys their key and those of the
    /// invites addressed to them, and frees their names, in one step. Again: no event.
    ///
    /// # Errors
    /// `OwnsAccounts`, `NotFound`, `Forbidden`.
    pub async fn forget_user(&self, context: &Context, user: UserId) -> Outcome<Vec<ApiKeyId>> {
        let done = self.dispatcher().dispatch(context, &Forget { user }).await?;
        if let Err(error) = self.coarse().remove(&done.answer.1).await {
            tracing::warn!(%error, "when a forgotten person's tokens were used could not be removed");
        }
        if let Some(list) = self.forgotten_list()
            && let Err(error) = list.add(&[user])
        {
            tracing::error!(%user, %error, "the list of the forgotten could not be written; it is written at the next start");
        }
        Ok(done.map(|(keys, _)| keys))
    }

    /// Brings the log and the list of the forgotten together: whoever is on the list is forgotten again, as after a
    /// restored backup, and whoever is forgotten is on the list. Gives how many were forgotten again.
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
        let listed = list.read().map_err(failed)?;
        let forgotten = self.reader().forgotten_users().await.map_err(read)?;
        list.add(&forgotten).map_err(failed)?;
        let mut again = 0;
        for user in listed {
            match self.forget_user(&Context::of(Actor::System), user).await {
                Ok(done) => again += usize::from(!done.events.is_empty()),
                // Registered after the backup was made: there is nothing to forget.
                Err(DispatchError::Refused(Refusal::NotFound(_))) => {}
                // In the backup they own accounts: somebody has to say whose those are, and cannot if nothing starts.
                Err(DispatchError::Refused(refusal)) => {
                    tracing::error!(%user, %refusal, "a person on the list of the forgotten is still known");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(again)
    }
}
