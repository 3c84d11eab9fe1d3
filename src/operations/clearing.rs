//! Clears away the rows that a closed account, a forgotten user or an ended membership has left behind.
//!
//! Queries hide these rows from the ending on; any node may remove them, step by step.

use uuid::Uuid;

use super::refusal::Refusal;
use crate::Tenure;
use crate::aggregates::AnyEvent;
use crate::aggregates::account::{Account, AccountCommand};
use crate::aggregates::ending::{Ended, Ending, EndingCommand, EndingEvent, RevokedKeys};
use crate::coarse::Coarse;
use crate::context::{Actor, Context};
use crate::dispatch::{DecideError, DispatchError, Failure, Operation, UnitOfWork};
use crate::ids::UserId;
use crate::projections::endings::Pending;

/// The most rows that one step clears. Small, so that other commands do not wait long for its batch.
const ROWS: i64 = 500;

/// The most memberships of a forgotten user that one step ends.
const MEMBERSHIPS: i64 = 50;

/// How many endings are read at a time.
const ENDINGS: i64 = 100;

/// The guard on all clearing. Of two concurrent steps one is decided again, so that no row is removed twice.
const GUARD: &str = "clearing";

/// The resources whose coarse rows are removed with this event.
fn coarse_of(event: &AnyEvent) -> Vec<Uuid> {
    match event {
        AnyEvent::Ending(EndingEvent::AccountRowsRemoved(rows)) => {
            let keys = rows.api_keys.iter().map(|key| key.as_uuid());
            keys.chain(rows.sources.iter().map(|source| source.id.as_uuid())).collect()
        }
        AnyEvent::Ending(EndingEvent::PersonRowsBlanked(rows)) => {
            rows.bearer_tokens.iter().map(|token| token.as_uuid()).collect()
        }
        _ => Vec::new(),
    }
}

/// One step of clearing one ending.
struct ClearEndedRows<'a> {
    pending: Pending,
    coarse: &'a Coarse,
}

impl ClearEndedRows<'_> {
    async fn account(
        &self,
        work: &mut UnitOfWork<'_>,
        of: Ended,
    ) -> Result<EndingCommand, DecideError<Refusal>> {
        let Ended::Account(account) = of else { return Ok(EndingCommand::Finish(of)) };
        let rows = work.reader().rows_of_closed_account(account, ROWS).await.map_err(Failure::from)?;
        let coarse: Vec<_> = rows
            .api_keys
            .iter()
            .map(|key| key.as_uuid())
            .chain(rows.sources.iter().map(|source| source.id.as_uuid()))
            .collect();
        // Coarse rows are found through the rows of `view`, so they must be removed first.
        self.coarse.remove(&coarse).await.map_err(Failure::from)?;
        let nothing = [rows.members.len(), rows.api_keys.len(), rows.invites.len()] == [0; 3]
            && rows.pipes.is_empty()
            && rows.sources.is_empty();
        Ok(if nothing { EndingCommand::Finish(of) } else { EndingCommand::RemoveAccountRows(rows) })
    }

    async fn membership(
        &self,
        work: &mut UnitOfWork<'_>,
        of: Ended,
    ) -> Result<EndingCommand, DecideError<Refusal>> {
        let Ended::Membership { account, user, .. } = of else { return Ok(EndingCommand::Finish(of)) };
        let Pending { at, position, .. } = self.pending;
        if work.load::<Account>(account.as_uuid()).await?.open().is_none() {
            // The account was closed too; its own ending clears these rows.
            return Ok(EndingCommand::Finish(of));
        }
        let keys = work.reader().api_keys_ended_with(account, user, position, ROWS).await;
        let api_keys = keys.map_err(Failure::from)?;
        Ok(if api_keys.is_empty() {
            EndingCommand::Finish(of)
        } else {
            EndingCommand::RevokeKeys(RevokedKeys { account, at, position, api_keys })
        })
    }

    /// Ends memberships of a forgotten user, and before each the API keys that ended with it. `false` if none are left.
    async fn memberships(
        &self,
        work: &mut UnitOfWork<'_>,
        user: UserId,
    ) -> Result<bool, DecideError<Refusal>> {
        let Pending { of, at, position } = self.pending;
        // Each membership depends on an account that other commands may change, and many at once conflict more often:
        // after a conflict, end one at a time.
        let most = if work.attempt() == 0 { MEMBERSHIPS } else { 1 };
        let accounts = work.reader().memberships_left(user, most).await.map_err(Failure::from)?;
        let mut left = ROWS;
        let mut any = false;
        for account in accounts {
            let state = work.load::<Account>(account.as_uuid()).await?;
            if !state.open().is_some_and(|open| open.members.contains_key(&user)) {
                continue;
            }
            // Keys before the membership: the membership is how the next step finds what is left.
            let keys = work.reader().api_keys_ended_with(account, user, position, left).await;
            let api_keys = keys.map_err(Failure::from)?;
            left -= i64::try_from(api_keys.len()).unwrap_or(i64::MAX);
            any = true;
            if !api_keys.is_empty() {
                let command = EndingCommand::RevokeKeys(RevokedKeys { account, at, position, api_keys });
                work.execute::<Ending, Refusal>(of.id(), command).await?;
            }
            if left <= 0 {
                break;
            }
            let command = AccountCommand::RemoveMember { user, ends_keys: true, at: work.at() };
            work.execute::<Account, Refusal>(account.as_uuid(), command).await?;
        }
        Ok(any)
    }

    async fn person(
        &self,
        work: &mut UnitOfWork<'_>,
        user: UserId,
    ) -> Result<EndingCommand, DecideError<Refusal>> {
        let Pending { of, at, .. } = self.pending;
        let rows = work.reader().rows_of_forgotten_person(user, at, ROWS).await.map_err(Failure::from)?;
        let coarse: Vec<_> = rows.bearer_tokens.iter().map(|token| token.as_uuid()).collect();
        self.coarse.remove(&coarse).await.map_err(Failure::from)?;
        let nothing = [rows.pending_invites.len(), rows.decided_invites.len(), rows.bearer_tokens.len()]
            == [0; 3]
            && [rows.sessions.len(), rows.sign_in_links.len(), rows.name_keys.len()] == [0; 3];
        Ok(if nothing { EndingCommand::Finish(of) } else { EndingCommand::BlankPersonRows(rows) })
    }
}

impl Operation for ClearEndedRows<'_> {
    /// Whether the ending is finished: nothing is left to clear.
    type Answer = bool;
    type Refusal = Refusal;

    fn name(&self) -> &'static str {
        "clear_away"
    }

    async fn decide(&self, work: &mut UnitOfWork<'_>) -> Result<bool, DecideError<Refusal>> {
        let of = self.pending.of;
        // Read and bump: each step conflicts with every other one. Before any row is read.
        work.bump_guard(GUARD.to_owned());
        work.read_guard(GUARD.to_owned()).await?;
        if work.load::<Ending>(of.id()).await?.finished {
            return Ok(true);
        }
        let command = match of {
            Ended::Account(_) => self.account(work, of).await?,
            Ended::Membership { .. } => self.membership(work, of).await?,
            Ended::Person(user) if self.memberships(work, user).await? => return Ok(false),
            Ended::Person(user) => self.person(work, user).await?,
        };
        let finished = matches!(command, EndingCommand::Finish(_));
        work.execute::<Ending, Refusal>(of.id(), command).await?;
        Ok(finished)
    }
}

impl Tenure {
    /// Clears away everything that endings have left behind and returns how many endings it finished. Any number of
    /// nodes may run this at once, and the next call continues an interrupted one. An open engine runs it in the
    /// background.
    ///
    /// # Errors
    /// `Failed` if the database cannot be read or written. An ending that fails does not stop the others; the first
    /// error is returned when a round finishes none.
    pub async fn clear_away(&self) -> Result<usize, DispatchError<Refusal>> {
        let mut done = 0;
        loop {
            let endings = self.reader().endings(ENDINGS).await;
            let endings = endings.map_err(|error| DispatchError::Failed(Failure::from(error)))?;
            if endings.is_empty() {
                return Ok(done);
            }
            let (mut failed, before) = (None, done);
            for pending in endings {
                match self.clear(pending).await {
                    Ok(()) => done += 1,
                    // A failing ending must not block the others.
                    Err(error) => drop(failed.get_or_insert(error)),
                }
            }
            if let Some(error) = failed.filter(|_| done == before) {
                return Err(error);
            }
        }
    }

    /// Clears away everything that one ending has left behind.
    async fn clear(&self, pending: Pending) -> Result<(), DispatchError<Refusal>> {
        let cause = self.log().event_id_at(pending.position).await;
        let causation = cause.map_err(|error| DispatchError::Failed(Failure::Read(error)))?;
        let context = &Context { causation, ..Context::of(Actor::System) };
        let step = ClearEndedRows { pending, coarse: self.coarse() };
        loop {
            let done = self.dispatcher().dispatch(context, &step).await?;
            // Remove coarse rows again: a request that read before the ending may have written one since.
            let gone: Vec<Uuid> = done.events.iter().flat_map(|(_, _, event)| coarse_of(event)).collect();
            let removed = self.coarse().remove(&gone).await;
            removed.map_err(|error| DispatchError::Failed(Failure::Read(error)))?;
            if done.answer {
                return Ok(());
            }
            // Let requests run between two steps.
            tokio::task::yield_now().await;
        }
    }
}
