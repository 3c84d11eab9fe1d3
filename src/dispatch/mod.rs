//! From a command to stored events: load, decide, append, and decide again when somebody else was faster.
//!
//! This is the only place that retries.

mod cache;
mod contention;
mod error;
mod load;
mod work;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use cqrs_es::Aggregate as _;
use quick_cache::sync::Cache;
use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

pub use error::{DecideError, DispatchError, Failure};
pub use work::UnitOfWork;

use crate::aggregates::invite::Invite;
use crate::aggregates::user::User;
use crate::aggregates::{AnyEvent, ended_subject};
use crate::clock::{Clock, Timestamp};
use crate::codec::{Codec, CodecError};
use crate::context::{Actor, Context};
use crate::entropy::Entropy;
use crate::event_log::claim::ClaimKey;
use crate::event_log::unit::IdempotencyRecord;
use crate::event_log::{AppendError, Checkpoint, EventHeader, EventLog, StreamId};
use crate::projections::Reader;

/// How often a command is decided again before it is given up as contended.
const MAX_DECISIONS: u32 = 500;

/// How many decisions are made without a pause between them.
const IMMEDIATE_RETRIES: u32 = 5;

/// How long the first pause is at most, and how often it doubles: up to 32 ms.
const MIN_BACKOFF: Duration = Duration::from_millis(1);
const MAX_DOUBLINGS: u32 = 5;

/// How many callers are remembered who asked for what was taken.
const COLLIDERS: usize = 10_000;

/// How many commands in a row of such a caller look before they ask.
const CAUTIOUS_FOR: u32 = 16;

/// How many claims that were fought over are remembered.
const CONTESTED_CLAIMS: usize = 10_000;

/// How many holders of claims are remembered.
const KNOWN_HOLDERS: usize = 200_000;

/// A command over one or several aggregates.
pub trait Operation: Send + Sync {
    /// What the caller learns beside the events.
    ///
    /// Kept for a day with a request that has an idempotency key: identifiers, never a secret.
    type Answer: Send + Serialize + DeserializeOwned;
    /// Why it can be refused.
    type Refusal: std::error::Error + Send + Sync + 'static;

    /// What is asked for, in one word that no other operation has: an idempotency key covers each operation by itself.
    fn name(&self) -> &'static str;

    /// Decides on the present state; called again from the start when that has changed meanwhile.
    ///
    /// # Errors
    /// The rule that forbids it, or a state that cannot be read.
    fn decide(
        &self,
        work: &mut UnitOfWork<'_>,
    ) -> impl Future<Output = Result<Self::Answer, DecideError<Self::Refusal>>> + Send;

    /// The refusal when another holds a claim of this kind. `None`, the default, decides again: right where the next decision
    /// finds the claim taken and chooses another name, or refuses by itself.
    fn claim_lost(&self, _kind: &str, _holder: &str) -> Option<Self::Refusal> {
        None
    }
}

/// A command that was carried out.
#[derive(Clone, Debug)]
pub struct Dispatched<T> {
    /// What the operation answers.
    pub answer: T,
    /// The events that were stored, in order; none when nothing had to change.
    pub events: Vec<(i64, StreamId, AnyEvent)>,
    /// From where on the outcome can be read: the newest event, or the end of the log if nothing had to change. Its
    /// text is the position token.
    pub checkpoint: Checkpoint,
    /// Whether the request had been carried out before, by its idempotency key; the answer is that one's.
    pub repeated: bool,
}

impl<T> Dispatched<T> {
    /// What the first of the events that it can be made from gives: position, stream, event. None for a request that had
    /// been carried out before.
    pub fn made<R>(&self, make: impl Fn(i64, Uuid, &AnyEvent) -> Option<R>) -> Option<R> {
        self.events
            .iter()
            .find_map(|(position, stream, event)| make(*position, Uuid::parse_str(&stream.id).ok()?, event))
    }

    /// The same with another answer.
    pub fn map<U>(self, f: impl FnOnce(T) -> U) -> Dispatched<U> {
        Dispatched {
            answer: f(self.answer),
            events: self.events,
            checkpoint: self.checkpoint,
            repeated: self.repeated,
        }
    }
}

/// Dispatches commands on one log.
pub struct Dispatcher {
    log: EventLog,
    codec: Codec,
    reader: Reader,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    states: cache::States,
    contested: Cache<ClaimKey, ()>,
    contention: contention::Contention,
    /// Who asked for claims that were taken, and how many of their next commands look first: a batch in which one collides
    /// is sent again for everybody in it.
    colliders: Cache<Uuid, u32>,
    /// Who took a claim lately; possibly stale, so that only whoever checks it against the holder's state may use it.
    holders: Cache<ClaimKey, Arc<str>>,
}

impl Dispatcher {
    /// A dispatcher on this log.
    #[must_use]
    pub fn new(log: EventLog, codec: Codec, clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) -> Self {
        let reader = Reader::new(log.primary().clone(), codec.keys().clone());
        let (contested, holders) = (Cache::new(CONTESTED_CLAIMS), Cache::new(KNOWN_HOLDERS));
        let colliders = Cache::new(COLLIDERS);
        let states = cache::States::default();
        Self {
            log,
            codec,
            reader,
            clock,
            entropy,
            states,
            contested,
            colliders,
            holders,
            contention: contention::Contention::default(),
        }
    }

    /// Carries out an operation, or refuses it; either way the answer held at a moment after the call began.
    ///
    /// # Errors
    /// See [`DispatchError`].
    pub async fn dispatch<O: Operation>(
        &self,
        context: &Context,
        operation: &O,
    ) -> Result<Dispatched<O::Answer>, DispatchError<O::Refusal>> {
        let at = self.clock.now();
        let idempotency = context.idempotency.map(|key| key.of_operation(operation.name()));
        let context = &Context { idempotency, ..*context };
        let mut lost = None;
        for attempt in 0..MAX_DECISIONS {
            self.back_off(attempt).await;
            // Those of this node that fight over one thing go one after the other, instead of all but one in vain.
            let mut turn = lost.take().map(|contested| self.contention.enter(contested));
            if let Some(turn) = &mut turn {
                turn.take_turn().await;
            }
            if let Some(done) = self.completed_before(context, at).await? {
                return Ok(done);
            }
            if let Some(outcome) = self.decide_once(context, operation, at, attempt, &mut lost).await? {
                return Ok(outcome);
            }
        }
        Err(DispatchError::Contended)
    }

    /// Lets others be done first, for a random while that grows with the number of decisions that did not stand.
    async fn back_off(&self, attempt: u32) {
        let Some(doublings) = attempt.checked_sub(IMMEDIATE_RETRIES) else { return };
        let most = MIN_BACKOFF * 2_u32.pow(doublings.min(MAX_DOUBLINGS));
        let mut random = [0; 4];
        self.entropy.fill(&mut random);
        let share = f64::from(u32::from_be_bytes(random)) / f64::from(u32::MAX);
        tokio::time::sleep(most.mul_f64(share)).await;
    }

    /// One decision; `None` when it must be made again, and then what it was lost over, if that is one thing.
    async fn decide_once<O: Operation>(
        &self,
        context: &Context,
        operation: &O,
        at: Timestamp,
        attempt: u32,
        lost: &mut Option<String>,
    ) -> Result<Option<Dispatched<O::Answer>>, DispatchError<O::Refusal>> {
        let mut work = UnitOfWork::new(self, *context, at, attempt);
        let answer = match operation.decide(&mut work).await {
            Ok(answer) => answer,
            Err(DecideError::Failed(failure)) => return Err(failure.into()),
            Err(DecideError::Refused(refusal)) => {
                return match self.confirm(&work).await? {
                    Some(_) => Err(DispatchError::Refused(refusal)),
                    None => Ok(None),
                };
            }
        };
        if work.is_empty() {
            let checkpoint = self.confirm(&work).await?;
            return Ok(checkpoint.map(|checkpoint| Dispatched {
                answer,
                events: Vec::new(),
                checkpoint,
                repeated: false,
            }));
        }
        let premises = work.premises().clone();
        let (mut unit, decided, keys) = match work.into_unit().await {
            Ok(unit) => unit,
            // What was decided on is stale: its subject's key has been destroyed meanwhile, on another node perhaps.
            Err(Failure::Codec(CodecError::Seal(_)))
                if attempt < IMMEDIATE_RETRIES
                    || self.log.confirm(&premises).await.map_err(Failure::from)?.is_none() =>
            {
                self.states.forget(&premises.streams);
                return Ok(None);
            }
            Err(failure) => return Err(failure.into()),
        };
        if let Some(key) = context.idempotency {
            let answer = serde_json::to_vec(&answer).map_err(|error| Failure::Codec(error.into()))?.into();
            unit.idempotency = Some(IdempotencyRecord { request: key.request, body: key.body, answer });
        }
        let is_cautious = self.is_cautious(context);
        for claim in unit.claims_taken() {
            // Somebody fought over this name a moment ago, or this caller over others: look before making a whole batch
            // lose time over it.
            if (is_cautious || self.contested.get(&claim.key).is_some())
                && let Some(holder) = self.reader.holder(&claim.key, at).await.map_err(Failure::from)?
                && holder != claim.holder
                && !unit.releases(&claim.key, &holder)
            {
                self.colliders.insert(caller(context), CAUTIOUS_FOR);
                // What was decided on may be stale, and the true answer another one.
                if self.log.confirm(&premises).await.map_err(Failure::from)?.is_none() {
                    self.states.forget(&premises.streams);
                    return Ok(None);
                }
                return claim_lost(operation, &claim.key, &holder);
            }
        }
        let taken: Vec<(ClaimKey, Arc<str>)> = unit
            .claims_taken()
            .filter(|claim| claim.free_after.is_none())
            .map(|claim| (claim.key.clone(), claim.holder.as_str().into()))
            .collect();
        match self.log.append(unit).await {
            Ok(appended) => {
                for (claim, holder) in taken {
                    self.holders.insert(claim, holder);
                }
                for (subject, key) in keys {
                    self.codec.keys().remember(appended.last.epoch, &subject, key);
                }
                let events = decided.finish(&self.states, self.codec.keys(), appended);
                Ok(Some(Dispatched { answer, events, checkpoint: appended.last, repeated: false }))
            }
            Err(AppendError::Conflict { stream, .. }) => {
                self.states.forget(&premises.streams);
                *lost = Some(stream.to_string());
                Ok(None)
            }
            Err(AppendError::GuardMoved { guard }) => {
                *lost = Some(guard);
                Ok(None)
            }
            Err(AppendError::AccountMoved { account }) => {
                *lost = Some(account.to_string());
                Ok(None)
            }
            Err(AppendError::Repeated | AppendError::EpochChanged) => Ok(None),
            Err(AppendError::ClaimTaken { key, holder }) => {
                self.contested.insert(key.clone(), ());
                self.colliders.insert(caller(context), CAUTIOUS_FOR);
                claim_lost(operation, &key, &holder)
            }
            Err(error) => Err(Failure::Append(error).into()),
        }
    }

    /// Whether this caller asked for what was taken a few commands ago.
    fn is_cautious(&self, context: &Context) -> bool {
        let caller = caller(context);
        let Some(left) = self.colliders.get(&caller) else { return false };
        match left.checked_sub(1) {
            Some(left) if left > 0 => self.colliders.insert(caller, left),
            _ => drop(self.colliders.remove(&caller)),
        }
        true
    }

    /// The answer to the same request, if it was carried out within the last day.
    async fn completed_before<T: DeserializeOwned, R: std::error::Error + 'static>(
        &self,
        context: &Context,
        at: Timestamp,
    ) -> Result<Option<Dispatched<T>>, DispatchError<R>> {
        let Some(key) = context.idempotency else { return Ok(None) };
        let Some((record, checkpoint)) =
            self.log.completed_request(&key.request, at).await.map_err(Failure::from)?
        else {
            return Ok(None);
        };
        if record.body != key.body {
            return Err(DispatchError::KeyReused);
        }
        let answer = serde_json::from_slice(&record.answer).map_err(|error| Failure::Codec(error.into()))?;
        Ok(Some(Dispatched { answer, events: Vec::new(), checkpoint, repeated: true }))
    }

    /// Takes note of an event of whichever node: what is in memory of its stream is outdated, and the keys that it
    /// destroys are forgotten.
    pub fn observe(&self, event: &EventHeader) {
        self.states.invalidate_before(&event.stream, event.version);
        if let Some(subject) = ended_subject(&event.stream, &event.event_type) {
            self.codec.keys().forget(&subject.to_string());
            if subject.kind == User::TYPE {
                // What invites say of somebody who is forgotten is in memory too.
                self.states.forget_all(Invite::TYPE);
            }
        }
    }

    /// Whether what a decision without events has read still holds; forgets what does not.
    async fn confirm(&self, work: &UnitOfWork<'_>) -> Result<Option<Checkpoint>, Failure> {
        let premises = work.premises();
        let checkpoint = self.log.confirm(premises).await?;
        if checkpoint.is_none() {
            self.states.forget(&premises.streams);
        }
        Ok(checkpoint)
    }
}

/// By whom a command is counted: the person behind it, else the credential, else nobody.
fn caller(context: &Context) -> Uuid {
    match (context.on_behalf_of, context.actor) {
        (Some(person), _) | (None, Actor::User(person)) => person.as_uuid(),
        (None, Actor::ApiKey(key)) => key.as_uuid(),
        (None, Actor::Token(token)) => token.as_uuid(),
        (None, Actor::System | Actor::Operator) => Uuid::nil(),
    }
}

/// What a lost claim means: a refusal, or another decision.
fn claim_lost<O: Operation>(
    operation: &O,
    key: &ClaimKey,
    holder: &str,
) -> Result<Option<Dispatched<O::Answer>>, DispatchError<O::Refusal>> {
    operation.claim_lost(key.kind, holder).map_or(Ok(None), |refusal| Err(DispatchError::Refused(refusal)))
}
