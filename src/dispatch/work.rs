//! One decision while it is being made: what it has read and what it will write.

use std::sync::Arc;

use bytes::Bytes;
use uuid::Uuid;

use super::Dispatcher;
use super::cache::{AnyState, Known, States};
use super::contention::Contender;
use super::error::{DecideError, Failure};
use crate::aggregates::{AnyEvent, ClaimHasher, EventSourced};
use crate::clock::Timestamp;
use crate::codec::Decided;
use crate::context::Context;
use crate::credentials::key_ring::KeyRing;
use crate::entropy::Entropy;
use crate::event_log::claim::{ClaimChange, ClaimKey, Takeover};
use crate::event_log::unit::StreamRead;
use crate::event_log::{Appended, Premises, StreamId, Unit};
use crate::ids::{AccountId, EventId};
use crate::sealing::DataKey;

/// The interface of an operation to the log: it reads aggregates, claims and guards through this, and collects its
/// events here. The dispatcher turns it into a unit.
pub struct UnitOfWork<'d> {
    dispatcher: &'d Dispatcher,
    context: Context,
    at: Timestamp,
    attempt: u32,
    premises: Premises,
    bumps: Vec<String>,
    states: Vec<WorkingState>,
    decided: Vec<Decided>,
    takeovers: Vec<(ClaimKey, String)>,
    contender: Vec<Contender>,
}

/// An aggregate's state after the commands of this decision.
struct WorkingState {
    stream: StreamId,
    epoch: i64,
    version: i64,
    seen: i64,
    state: AnyState,
    changed: bool,
}

impl<'d> UnitOfWork<'d> {
    pub(super) fn new(dispatcher: &'d Dispatcher, context: Context, at: Timestamp, attempt: u32) -> Self {
        Self {
            dispatcher,
            context,
            at,
            attempt,
            // Noted before anything is read: the log refuses the unit if the epoch changes after this.
            premises: Premises { epoch: Some(dispatcher.log.seen().get().epoch), ..Premises::default() },
            bumps: Vec::new(),
            states: Vec::new(),
            decided: Vec::new(),
            takeovers: Vec::new(),
            contender: Vec::new(),
        }
    }

    /// How many earlier decisions on this command did not stand; 0 for the first.
    #[must_use]
    pub const fn attempt(&self) -> u32 {
        self.attempt
    }

    /// The holder of a claim, or its last holder if it has expired; `None` if it was released or never taken.
    ///
    /// # Errors
    /// [`Failure::Read`] if the database cannot be read.
    pub async fn last_holder(&self, claim: &ClaimKey) -> Result<Option<String>, Failure> {
        Ok(self.dispatcher.reader.last_holder(claim).await?)
    }

    /// Lets this unit's claim take over the expired claim of this holder, and of no other.
    pub fn take_over(&mut self, claim: ClaimKey, holder: String) {
        self.takeovers.push((claim, holder));
    }

    /// The command's time, the same for all decisions on it.
    #[must_use]
    pub const fn at(&self) -> Timestamp {
        self.at
    }

    /// Who sends the command, on whose behalf, and with which idempotency key.
    #[must_use]
    pub const fn context(&self) -> &Context {
        &self.context
    }

    /// Hashes names into claim keys.
    #[must_use]
    pub fn hasher(&self) -> &dyn ClaimHasher {
        &**self.dispatcher.codec.keys()
    }

    /// The state of an aggregate, with this decision's own events applied. The decision stands only if the stream still
    /// has the version read when the unit is stored.
    ///
    /// # Errors
    /// [`Failure::Read`] or [`Failure::Codec`] if it cannot be read or decoded.
    pub async fn load<A>(&mut self, id: Uuid) -> Result<Arc<A>, Failure>
    where
        A: EventSourced,
        A::Event: TryFrom<AnyEvent>,
    {
        let stream = A::stream(id);
        if let Some(known) = self.states.iter().find(|known| known.stream == stream)
            && let Ok(state) = known.state.clone().downcast::<A>()
        {
            return Ok(state);
        }
        let (seen, state) = self.dispatcher.load::<A>(id, self.epoch()).await?;
        self.begin(stream, seen);
        Ok(state)
    }

    /// The epoch in which this decision began; all its reads must belong to it.
    fn epoch(&self) -> i64 {
        self.premises.epoch.unwrap_or_default()
    }

    fn begin(&mut self, stream: StreamId, seen: Known) {
        let Known { epoch, version, seen, state } = seen;
        self.premises.streams.push(StreamRead { stream: stream.clone(), version, seen });
        self.states.push(WorkingState { stream, epoch, version, seen, state, changed: false });
    }

    /// Carries out a command on an existing aggregate and keeps its events for the unit. Returns the number of events.
    ///
    /// # Errors
    /// [`DecideError::Refused`] with the aggregate's refusal, or [`DecideError::Failed`] if its state cannot be read.
    pub async fn execute<A, R>(&mut self, id: Uuid, command: A::Command) -> Result<usize, DecideError<R>>
    where
        A: EventSourced,
        A::Event: TryFrom<AnyEvent> + Into<AnyEvent>,
        R: From<A::Error>,
    {
        self.load::<A>(id).await?;
        self.decide::<A, R>(id, command)
    }

    /// Carries out a command on a new aggregate without reading the log, because a fresh identifier has no events.
    /// Returns the number of events.
    ///
    /// # Errors
    /// [`DecideError::Refused`] with the aggregate's refusal.
    pub fn create<A, R>(&mut self, id: Uuid, command: A::Command) -> Result<usize, DecideError<R>>
    where
        A: EventSourced,
        A::Event: Into<AnyEvent>,
        R: From<A::Error>,
    {
        self.begin(
            A::stream(id),
            Known { epoch: self.epoch(), version: 0, seen: 0, state: Arc::new(A::default()) },
        );
        self.decide::<A, R>(id, command)
    }

    fn decide<A, R>(&mut self, id: Uuid, command: A::Command) -> Result<usize, DecideError<R>>
    where
        A: EventSourced,
        A::Event: Into<AnyEvent>,
        R: From<A::Error>,
    {
        let stream = A::stream(id);
        // Always found: `execute` and `create` register the stream first.
        let Some(working) = self.states.iter_mut().find(|known| known.stream == stream) else {
            return Ok(0);
        };
        let Ok(state) = working.state.clone().downcast::<A>() else {
            return Ok(0);
        };
        let events = state.decide(command).map_err(|refusal| DecideError::Refused(R::from(refusal)))?;
        if events.is_empty() {
            return Ok(0);
        }
        let count = events.len();
        // Cloned because the cache shares the state: if this decision fails, others must not see its events.
        let mut next = (*state).clone();
        for event in events {
            next.apply(event.clone());
            working.version += 1;
            self.decided.push(Decided {
                id: EventId::new(self.at, &*self.dispatcher.entropy),
                stream_id: id,
                stream: stream.clone(),
                version: working.version,
                event: event.into(),
            });
        }
        working.state = Arc::new(next);
        working.changed = true;
        Ok(count)
    }

    /// The current holder of a claim, read from the database; `None` if it is free. The decision does not depend on the
    /// answer: a claim that the unit takes is checked when the unit is stored.
    ///
    /// # Errors
    /// [`Failure::Read`] if the database cannot be read.
    pub async fn holder(&self, claim: &ClaimKey) -> Result<Option<String>, Failure> {
        Ok(self.dispatcher.reader.holder(claim, self.at).await?)
    }

    /// As [`UnitOfWork::holder`], for several claims in one query.
    ///
    /// # Errors
    /// [`Failure::Read`] if the database cannot be read.
    pub async fn holders<const N: usize>(
        &self,
        claims: [&ClaimKey; N],
    ) -> Result<[Option<String>; N], Failure> {
        Ok(self.dispatcher.reader.holders(claims, self.at).await?)
    }

    /// Who last took a claim, from this node's memory; may no longer hold it. Trust it only if the holder's own state,
    /// loaded through this unit, agrees; otherwise ask [`UnitOfWork::holder`].
    #[must_use]
    pub fn remembered_holder(&self, claim: &ClaimKey) -> Option<Arc<str>> {
        self.dispatcher.holders.get(claim)
    }

    /// Makes the decision stand only if no other unit has changed the guarded set when this one is stored. Call it
    /// before reading the set: a change between the two reads is then noticed.
    ///
    /// # Errors
    /// [`Failure::Read`] if the database cannot be read.
    pub async fn read_guard(&mut self, name: String) -> Result<(), Failure> {
        let version = self.dispatcher.log.guard_version(&name).await?;
        self.premises.guards.push((name, version));
        Ok(())
    }

    /// Makes the decision stand only if no newer event of the account (its keys, invites, sources and so on) is stored
    /// before this unit. Call it before reading any of these.
    ///
    /// # Errors
    /// [`Failure::Read`] if the database cannot be read.
    pub async fn depend_on_account(&mut self, account: AccountId) -> Result<(), Failure> {
        let log = &self.dispatcher.log;
        // The first attempt saves a query with the position that this node has seen; if that was too old, the retry
        // asks.
        let position = if self.attempt == 0 { log.seen().get().position } else { log.newest().await? };
        self.premises.accounts.push((account.as_uuid(), position));
        Ok(())
    }

    /// How many decisions on a set are in flight on this node, including this one. Each counts until its unit is
    /// stored.
    pub fn contenders_on(&mut self, set: &str) -> usize {
        if let Some(contender) = self.contender.iter().find(|contender| contender.is_of(set)) {
            return contender.count();
        }
        let contender = self.dispatcher.contention.enter(set.to_owned());
        let count = contender.count();
        self.contender.push(contender);
        count
    }

    /// Takes the set's lock on this node, or goes ahead without it after a timeout. Decisions that run one at a time do
    /// not conflict with each other.
    pub async fn wait_turn_on(&mut self, set: &str) {
        self.contenders_on(set);
        if let Some(contender) = self.contender.iter_mut().find(|contender| contender.is_of(set)) {
            contender.take_turn().await;
        }
    }

    /// Declares that this unit changes a guarded set, so that concurrent decisions on the set conflict.
    pub fn bump_guard(&mut self, name: String) {
        if !self.bumps.contains(&name) {
            self.bumps.push(name);
        }
    }

    /// The projections, for reading sets under a guard.
    #[must_use]
    pub const fn reader(&self) -> &crate::projections::Reader {
        &self.dispatcher.reader
    }

    /// The source of randomness for new identifiers.
    #[must_use]
    pub fn entropy(&self) -> &dyn Entropy {
        &*self.dispatcher.entropy
    }

    pub(super) fn is_empty(&self) -> bool {
        self.decided.is_empty()
    }

    /// Everything that the decision has read, with versions.
    pub(super) const fn premises(&self) -> &Premises {
        &self.premises
    }

    /// The unit to append, what to cache once it is stored, and the new data keys.
    pub(super) async fn into_unit(self) -> Result<(Unit, Outcome, Vec<(String, DataKey)>), Failure> {
        let mut decided = self.decided;
        let mut unit = Unit { at: self.at, premises: self.premises, bumps: self.bumps, ..Unit::default() };
        let metadata = Bytes::from(self.context.metadata());
        let primary = self.dispatcher.log.primary();
        let keys = self.dispatcher.codec.encode(&mut unit, &mut decided, &metadata, primary).await?;
        for (_, change) in &mut unit.claims {
            if let ClaimChange::Take(claim) = change
                && let Some((_, holder)) = self.takeovers.iter().find(|(key, _)| *key == claim.key)
            {
                claim.takeover = Takeover::Only(holder.clone());
            }
        }
        Ok((unit, Outcome { states: self.states, decided, contender: self.contender }, keys))
    }
}

/// What remains of a decision after its unit is handed to the log: states to cache and the typed events.
pub(super) struct Outcome {
    states: Vec<WorkingState>,
    decided: Vec<Decided>,
    /// Keeps the decision counted, and its locks held, until the unit is stored or refused.
    contender: Vec<Contender>,
}

impl Outcome {
    /// Caches the new states, forgets destroyed keys, and returns the events with their positions.
    pub(super) fn finish(
        self,
        states: &States,
        keys: &KeyRing,
        appended: Appended,
    ) -> Vec<(i64, StreamId, AnyEvent)> {
        // The unit is stored: let the next decision on the set start.
        drop(self.contender);
        for WorkingState { stream, epoch, version, seen, state, changed } in self.states {
            if changed {
                states.keep(stream, Known { epoch, version, seen: appended.last.position, state });
            } else {
                states.confirm(stream, Known { epoch, version, seen, state }, appended.last.position);
            }
        }
        (appended.first..)
            .zip(self.decided)
            .map(|(position, decided)| {
                for subject in decided.event.ends_subjects(decided.stream_id) {
                    keys.forget(&subject.to_string());
                }
                (position, decided.stream, decided.event)
            })
            .collect()
    }
}
