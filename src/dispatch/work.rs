//! One decision in the making: what it has read, what it will write.

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

/// What an operation decides with: it reads aggregates, claims and guards through this, and leaves its events here.
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

/// An aggregate as this decision has left it.
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
            premises: Premises { epoch: Some(dispatcher.log.seen().get().epoch), ..Premises::default() },
            bumps: Vec::new(),
            states: Vec::new(),
            decided: Vec::new(),
            takeovers: Vec::new(),
            contender: Vec::new(),
        }
    }

    /// How often this command has been decided before, and the decision did not stand.
    #[must_use]
    pub const fn attempt(&self) -> u32 {
        self.attempt
    }

    /// Who holds a claim or held it until it died, if it was not released.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn last_holder(&self, claim: &ClaimKey) -> Result<Option<String>, Failure> {
        Ok(self.dispatcher.reader.last_holder(claim).await?)
    }

    /// Says that this unit's claim may take the place of the dead claim of this holder, and of no other.
    pub fn take_over(&mut self, claim: ClaimKey, holder: String) {
        self.takeovers.push((claim, holder));
    }

    /// The command's time: the same for each decision on it.
    #[must_use]
    pub const fn at(&self) -> Timestamp {
        self.at
    }

    /// Who asks.
    #[must_use]
    pub const fn context(&self) -> &Context {
        &self.context
    }

    /// Makes the keys of claims.
    #[must_use]
    pub fn hasher(&self) -> &dyn ClaimHasher {
        &**self.dispatcher.codec.keys()
    }

    /// The state of an aggregate; the decision stands only if it is still this one when the unit is stored.
    ///
    /// # Errors
    /// It cannot be read.
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

    /// The epoch in which this decision began.
    fn epoch(&self) -> i64 {
        self.premises.epoch.unwrap_or_default()
    }

    fn begin(&mut self, stream: StreamId, seen: Known) {
        let Known { epoch, version, seen, state } = seen;
        self.premises.streams.push(StreamRead { stream: stream.clone(), version, seen });
        self.states.push(WorkingState { stream, epoch, version, seen, state, changed: false });
    }

    /// Carries out a command on an aggregate that exists, and keeps its events for the unit.
    ///
    /// # Errors
    /// The aggregate's refusal, or a state that cannot be read.
    pub async fn execute<A, R>(&mut self, id: Uuid, command: A::Command) -> Result<usize, DecideError<R>>
    where
        A: EventSourced,
        A::Event: TryFrom<AnyEvent> + Into<AnyEvent>,
        R: From<A::Error>,
    {
        self.load::<A>(id).await?;
        self.decide::<A, R>(id, command)
    }

    /// Carries out a command on an aggregate that begins: a fresh identifier needs no look at the log.
    ///
    /// # Errors
    /// The aggregate's refusal.
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

    /// Who holds a claim now, if anybody: a fresh look that the unit does not depend on, because a claim that it
    /// takes is decided when it is stored.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn holder(&self, claim: &ClaimKey) -> Result<Option<String>, Failure> {
        Ok(self.dispatcher.reader.holder(claim, self.at).await?)
    }

    /// The same of several claims, in one look.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn holders<const N: usize>(
        &self,
        claims: [&ClaimKey; N],
    ) -> Result<[Option<String>; N], Failure> {
        Ok(self.dispatcher.reader.holders(claims, self.at).await?)
    }

    /// Who took a claim as far as this node remembers: perhaps no longer its holder. To be believed only if the holder's
    /// own state, loaded through this, says so too; else ask [`UnitOfWork::holder`].
    #[must_use]
    pub fn remembered_holder(&self, claim: &ClaimKey) -> Option<Arc<str>> {
        self.dispatcher.holders.get(claim)
    }

    /// Reads a set under its guard: the decision stands only if no unit has changed the set when it is stored.
    /// To be called before the set itself is read.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn read_guard(&mut self, name: String) -> Result<(), Failure> {
        let version = self.dispatcher.log.guard_version(&name).await?;
        self.premises.guards.push((name, version));
        Ok(())
    }

    /// Reads what an account has (keys, invites, sources: whatever has events of that account): the decision stands
    /// only if the account has no newer event when it is stored. To be called before the things themselves are read.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn depend_on_account(&mut self, account: AccountId) -> Result<(), Failure> {
        let log = &self.dispatcher.log;
        let position = if self.attempt == 0 { log.seen().get().position } else { log.newest().await? };
        self.premises.accounts.push((account.as_uuid(), position));
        Ok(())
    }

    /// How many decisions on a set are under way on this node until they are stored, this one counted.
    pub fn contenders_on(&mut self, set: &str) -> usize {
        if let Some(contender) = self.contender.iter().find(|contender| contender.is_of(set)) {
            return contender.count();
        }
        let contender = self.dispatcher.contention.enter(set.to_owned());
        let count = contender.count();
        self.contender.push(contender);
        count
    }

    /// Waits, for a while, until those of this node that decide on the set in turn are stored, so that of many at once not
    /// all but one decide in vain.
    pub async fn wait_turn_on(&mut self, set: &str) {
        self.contenders_on(set);
        if let Some(contender) = self.contender.iter_mut().find(|contender| contender.is_of(set)) {
            contender.take_turn().await;
        }
    }

    /// Says that this unit changes a guarded set.
    pub fn bump_guard(&mut self, name: String) {
        if !self.bumps.contains(&name) {
            self.bumps.push(name);
        }
    }

    /// The projections, for sets that are read under a guard.
    #[must_use]
    pub const fn reader(&self) -> &crate::projections::Reader {
        &self.dispatcher.reader
    }

    /// Fresh randomness for identifiers.
    #[must_use]
    pub fn entropy(&self) -> &dyn Entropy {
        &*self.dispatcher.entropy
    }

    pub(super) fn is_empty(&self) -> bool {
        self.decided.is_empty()
    }

    /// What the decision rests on.
    pub(super) const fn premises(&self) -> &Premises {
        &self.premises
    }

    /// The unit, what is left of the decision beside it, and the keys that begin with it.
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

/// What a stored unit leaves behind: newer states and the typed events.
pub(super) struct Outcome {
    states: Vec<WorkingState>,
    decided: Vec<Decided>,
    /// Under way until this is dropped.
    contender: Vec<Contender>,
}

impl Outcome {
    /// Keeps the new states in memory, drops keys that are destroyed, and gives the events their positions.
    pub(super) fn finish(
        self,
        states: &States,
        keys: &KeyRing,
        appended: Appended,
    ) -> Vec<(i64, StreamId, AnyEvent)> {
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
