//! Creates, changes and deletes sources, the named actors of an account, and their pipes.

use super::limits::{self, Counted, Limits};
use super::refusal::{Refusal, Resource};
use super::{Outcome, accounts, authority, invalid, users};
use crate::Tenure;
use crate::aggregates::field::Invalid;
use crate::aggregates::source::{
    Active, Handle, NewPipe, NewSource, PipeName, Retention, Source, SourceCommand, SourceKind, handle_claim,
};
use crate::clock::Timestamp;
use crate::context::Context;
use crate::dispatch::{DecideError, DispatchError, Failure, Operation, UnitOfWork};
use crate::ids::{AccountId, PipeId, SourceId, UserId};

/// The largest broadcast payload that is kept, in bytes: 64 KiB.
pub const MAX_BROADCAST_BYTES: usize = 64 * 1_024;

struct CreateSource {
    id: SourceId,
    account: AccountId,
    by: Option<UserId>,
    handle: Handle,
    kind: SourceKind,
    limits: Limits,
}

impl Operation for CreateSource {
    type Answer = SourceId;
    type Refusal = Refusal;

    fn name(&self) -> &'static str {
        "create_source"
    }

    async fn decide(&self, work: &mut UnitOfWork<'_>) -> Result<SourceId, DecideError<Refusal>> {
        let created_by = created_by(work, self.account, self.by).await?;
        let command = SourceCommand::Create(NewSource {
            account: self.account,
            created_by,
            handle: self.handle.clone(),
            kind: self.kind,
            at: work.at(),
        });
        limits::enforce_limit(work, Counted::Sources(self.account), &self.limits).await?;
        work.create::<Source, _>(self.id.as_uuid(), command)?;
        Ok(self.id)
    }

    fn claim_lost(&self, _: &str, _: &str) -> Option<Refusal> {
        // The handle is the only claim that a source takes.
        Some(Refusal::HandleTaken)
    }
}

/// The `created_by` of a new resource in an account: the calling member or the minter of the calling key, or the user
/// named by an operator.
async fn created_by(
    work: &mut UnitOfWork<'_>,
    id: AccountId,
    by: Option<UserId>,
) -> Result<UserId, DecideError<Refusal>> {
    let account = accounts::open_account(work, id).await?;
    let caller = authority::require_member(work, id, &account).await?;
    let maker = authority::created_by(caller, by).map_err(DecideError::Refused)?;
    users::must_exist(work, maker).await?;
    Ok(maker)
}

/// The active source with this handle, for a caller who may act in its account.
async fn active_source(
    work: &mut UnitOfWork<'_>,
    account: AccountId,
    handle: &str,
) -> Result<(SourceId, Active), DecideError<Refusal>> {
    let open = accounts::open_account(work, account).await?;
    authority::require_member(work, account, &open).await?;
    let not_found = || DecideError::Refused(Refusal::NotFound(Resource::Source));
    let claim = handle_claim(account, &Handle::parse(handle).map_err(|_| not_found())?, work.hasher());
    let remembered = work.remembered_holder(&claim).and_then(|holder| holder.parse::<SourceId>().ok());
    if let Some(id) = remembered {
        // The remembered holder may be stale; trust it only if the source is still active. This saves a query.
        let source = work.load::<Source>(id.as_uuid()).await?;
        if let Some(active) = source.active() {
            return Ok((id, active.clone()));
        }
    }
    let holder = work.holder(&claim).await?.and_then(|holder| holder.parse::<SourceId>().ok());
    let id = holder.ok_or_else(not_found)?;
    let source = work.load::<Source>(id.as_uuid()).await?;
    Ok((id, source.active().cloned().ok_or_else(not_found)?))
}

/// The active source with this handle and its pipe with this name, or `NotFound`.
async fn active_pipe(
    work: &mut UnitOfWork<'_>,
    account: AccountId,
    handle: &str,
    name: &PipeName,
) -> Result<(SourceId, PipeId), DecideError<Refusal>> {
    let (source, state) = active_source(work, account, handle).await?;
    let pipe = state.pipes.get(name).map(|(pipe, _)| *pipe);
    Ok((source, pipe.ok_or(DecideError::Refused(Refusal::NotFound(Resource::Pipe)))?))
}

struct FindSource<'a> {
    account: AccountId,
    handle: &'a str,
}

impl Operation for FindSource<'_> {
    type Answer = SourceId;
    type Refusal = Refusal;

    fn name(&self) -> &'static str {
        "find_source"
    }

    async fn decide(&self, work: &mut UnitOfWork<'_>) -> Result<SourceId, DecideError<Refusal>> {
        Ok(active_source(work, self.account, self.handle).await?.0)
    }
}

struct DeleteSource<'a> {
    account: AccountId,
    handle: &'a str,
}

impl Operation for DeleteSource<'_> {
    type Answer = SourceId;
    type Refusal = Refusal;

    fn name(&self) -> &'static str {
        "delete_source"
    }

    async fn decide(&self, work: &mut UnitOfWork<'_>) -> Result<SourceId, DecideError<Refusal>> {
        let (id, _) = active_source(work, self.account, self.handle).await?;
        let command = SourceCommand::Delete { at: work.at() };
        work.execute::<Source, Refusal>(id.as_uuid(), command).await?;
        Ok(id)
    }
}

struct CreatePipe<'a> {
    id: PipeId,
    account: AccountId,
    by: Option<UserId>,
    handle: &'a str,
    name: PipeName,
    retention: Retention,
    limits: Limits,
}

impl Operation for CreatePipe<'_> {
    type Answer = PipeId;
    type Refusal = Refusal;

    fn name(&self) -> &'static str {
        "create_pipe"
    }

    async fn decide(&self, work: &mut UnitOfWork<'_>) -> Result<PipeId, DecideError<Refusal>> {
        let (source, _) = active_source(work, self.account, self.handle).await?;
        let created_by = created_by(work, self.account, self.by).await?;
        limits::enforce_limit(work, Counted::Pipes(self.account), &self.limits).await?;
        let (name, retention) = (self.name.clone(), self.retention);
        let command =
            SourceCommand::CreatePipe(NewPipe { id: self.id, created_by, name, retention, at: work.at() });
        work.execute::<Source, Refusal>(source.as_uuid(), command).await?;
        Ok(self.id)
    }
}

struct ChangePipeRetention<'a> {
    account: AccountId,
    handle: &'a str,
    name: PipeName,
    retention: Retention,
}

impl Operation for ChangePipeRetention<'_> {
    type Answer = PipeId;
    type Refusal = Refusal;

    fn name(&self) -> &'static str {
        "change_pipe_retention"
    }

    async fn decide(&self, work: &mut UnitOfWork<'_>) -> Result<PipeId, DecideError<Refusal>> {
        let (source, pipe) = active_pipe(work, self.account, self.handle, &self.name).await?;
        let (name, retention) = (self.name.clone(), self.retention);
        let command = SourceCommand::ChangeRetention { name, retention, at: work.at() };
        work.execute::<Source, Refusal>(source.as_uuid(), command).await?;
        Ok(pipe)
    }
}

struct DeletePipe<'a> {
    account: AccountId,
    handle: &'a str,
    name: PipeName,
}

impl Operation for DeletePipe<'_> {
    type Answer = PipeId;
    type Refusal = Refusal;

    fn name(&self) -> &'static str {
        "delete_pipe"
    }

    async fn decide(&self, work: &mut UnitOfWork<'_>) -> Result<PipeId, DecideError<Refusal>> {
        let (source, pipe) = active_pipe(work, self.account, self.handle, &self.name).await?;
        let command = SourceCommand::DeletePipe { name: self.name.clone(), at: work.at() };
        work.execute::<Source, Refusal>(source.as_uuid(), command).await?;
        Ok(pipe)
    }
}

/// Parses the name of an existing pipe. A malformed or built-in name is `NotFound`: no created pipe can have it.
fn existing(name: &str) -> Result<PipeName, DispatchError<Refusal>> {
    PipeName::parse(name).map_err(|_| DispatchError::Refused(Refusal::NotFound(Resource::Pipe)))
}

impl Tenure {
    /// Creates a source in an account. For its owner, members and API keys; an operator on the database names the
    /// creator in `by`.
    ///
    /// # Errors
    /// `Invalid`, `HandleTaken`, `NotFound`, `LimitReached`, `Forbidden`.
    pub async fn create_source(
        &self,
        context: &Context,
        account: AccountId,
        by: Option<UserId>,
        handle: &str,
        kind: Option<&str>,
    ) -> Outcome<SourceId> {
        let operation = CreateSource {
            id: self.new_id(SourceId::new),
            account,
            by,
            handle: Handle::parse(handle).map_err(invalid)?,
            kind: kind.map_or(Ok(SourceKind::default()), str::parse).map_err(invalid)?,
            limits: self.rules().limits,
        };
        self.dispatcher().dispatch(context, &operation).await
    }

    /// Deletes a source with its pipes, atomically. Its handle becomes free; a later source with it is a different one.
    ///
    /// # Errors
    /// `NotFound`, `Forbidden`.
    pub async fn delete_source(
        &self,
        context: &Context,
        account: AccountId,
        handle: &str,
    ) -> Outcome<SourceId> {
        let done = self.dispatcher().dispatch(context, &DeleteSource { account, handle }).await?;
        // Only a warning: a row that stays is never shown, because its source is gone.
        if let Err(error) = self.coarse().remove(&[done.answer.as_uuid()]).await {
            tracing::warn!(%error, "could not remove the last broadcast of a deleted source");
        }
        Ok(done)
    }

    /// Stores the last broadcast of a source. A broadcast that is not newer than the stored one changes nothing.
    ///
    /// # Errors
    /// `Invalid` (more than [`MAX_BROADCAST_BYTES`]), `NotFound`, `Forbidden`.
    pub async fn update_last_broadcast(
        &self,
        context: &Context,
        account: AccountId,
        handle: &str,
        at: Timestamp,
        payload: &str,
    ) -> Result<(), DispatchError<Refusal>> {
        // PostgreSQL cannot store NUL in text.
        if payload.len() > MAX_BROADCAST_BYTES || payload.contains('\0') {
            let rule = "at most 65536 bytes of UTF-8 without NUL";
            return Err(invalid(Invalid { field: "payload", rule }));
        }
        // A command without events: the dispatcher confirms against the log that the caller may still do this.
        let source = self.dispatcher().dispatch(context, &FindSource { account, handle }).await?.answer;
        // The source may have been deleted since it was looked up.
        let there = self.coarse().broadcast(source, at, payload).await;
        if there.map_err(|error| DispatchError::Failed(Failure::Read(error)))? {
            Ok(())
        } else {
            Err(DispatchError::Refused(Refusal::NotFound(Resource::Source)))
        }
    }

    /// Creates a pipe of a source and returns its identifier. Unset retention values use the server's defaults.
    ///
    /// # Errors
    /// `Invalid`, `PipeNameTaken`, `NotFound`, `LimitReached`, `Forbidden`.
    pub async fn create_pipe(
        &self,
        context: &Context,
        account: AccountId,
        by: Option<UserId>,
        handle: &str,
        name: &str,
        retention: Retention,
    ) -> Outcome<PipeId> {
        let retention = bounded(retention)?;
        let id = self.new_id(PipeId::new);
        let name = PipeName::parse(name).map_err(invalid)?;
        let limits = self.rules().limits;
        let operation = CreatePipe { id, account, by, handle, name, retention, limits };
        self.dispatcher().dispatch(context, &operation).await
    }

    /// Changes the retention of a pipe and returns the pipe's identifier; no event if nothing changes.
    ///
    /// # Errors
    /// `Invalid`, `NotFound` (also for the built-in pipes of a source), `Forbidden`.
    pub async fn change_pipe_retention(
        &self,
        context: &Context,
        account: AccountId,
        handle: &str,
        name: &str,
        retention: Retention,
    ) -> Outcome<PipeId> {
        let (name, retention) = (existing(name)?, bounded(retention)?);
        let operation = ChangePipeRetention { account, handle, name, retention };
        self.dispatcher().dispatch(context, &operation).await
    }

    /// Deletes a pipe and returns its identifier.
    ///
    /// # Errors
    /// `NotFound` (also for the built-in pipes of a source), `Forbidden`.
    pub async fn delete_pipe(
        &self,
        context: &Context,
        account: AccountId,
        handle: &str,
        name: &str,
    ) -> Outcome<PipeId> {
        let operation = DeletePipe { account, handle, name: existing(name)? };
        self.dispatcher().dispatch(context, &operation).await
    }
}

/// Checks that each retention value that is set is within its bounds.
fn bounded(retention: Retention) -> Result<Retention, DispatchError<Refusal>> {
    Retention::new(retention.ttl_seconds, retention.max_msgs, retention.max_bytes).map_err(invalid)
}
