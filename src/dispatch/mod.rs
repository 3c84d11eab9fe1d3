//! Turns a command into stored events: load, decide, append, and decide again after a conflict.
//!
//! This is the only place that retries a decision.

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

/// How many times a command is decided before it fails as [`DispatchError::Contended`].
const MAX_DECISIONS: u32 = 500;

/// How many decisions are made without a pause between them; back-off begins after these.
const IMMEDIATE_RETRIES: u32 = 5;

/// The upper bound of the first pause.
const MIN_BACKOFF: Duration = Duration::from_millis(1);

/// How many times the upper bound of the pause doubles: it ends at 32 ms.
const MAX_DOUBLINGS: u32 = 5;

/// How many callers are remembered whose commands recently lost a claim.
const COLLIDERS: usize = 10_000;

/// How many further commands of such a caller look up their claims before they join a batch.
const CAUTIOUS_FOR: u32 = 16;

/// How many contested claims are remembered.
const CONTESTED_CLAIMS: usize = 10_000;

/// How many claims are remembered with their holder.
const KNOWN_HOLDERS: usize = 200_000;

/// A command over one or several aggregates, as the dispatcher runs it.
pub trait Operation: Send + Sync {
    /// What the caller gets besides the events.
    ///
    /// Stored for a day if the request has an idempotency key, so it holds identifiers and never a secret.
    type Answer: Send + Serialize + DeserializeOwned;
    /// Why the operation can be refused.
    type Refusal: std::error::Error + Send + Sync + 'static;

    /// The unique name of this operation. One idempotency key covers each operation separately, told apart by this
    /// name.
    fn name(&self) -> &'static str;

    /// Decides on the current state. Called again from the start if the state has changed before the unit is stored.
    ///
    /// # Errors
    /// [`DecideError::Refused`] if a rule forbids the command, [`DecideError::Failed`] if state cannot be read.
    fn decide(
        &self,
        work: &mut UnitOfWork<'_>,
    ) -> impl Future<Output = Result<Self::Answer, DecideError<Self::Refusal>>> + Send;

    /// The refusal if `holder` already holds a claim of this kind. `None`, the default, decides again: right where the
    /// next decision finds the claim taken and picks another name, or refuses the command itself.
    fn claim_lost(&self, _kind: &str, _holder: &str) -> Option<Self::Refusal> {
        None
    }
}

/// The outcome of a command that was carried out.
#[derive(Clone, Debug)]
pub struct Dispatched<T> {
    /// The operation's own answer.
    pub answer: T,
    /// The stored events in order, each with its position; empty if nothing had to change or the request was repeated.
    pub events: Vec<(i64, StreamId, AnyEvent)>,
    /// The position from which the outcome can be read: the last stored event, or the end of the log if nothing had to
    /// change. Its text form is the position token.
    pub checkpoint: Checkpoint,
    /// Whether a request with this idempotency key was carried out earlier; `answer` is then the earlier answer.
    pub repeated: bool,
}

impl<T> Dispatched<T> {
    /// The first `Some` that `make` returns for an event, called with position, stream id and event. `None` for a
    /// repeated request, which has no events.
    pub fn made<R>(&self, make: impl Fn(i64, Uuid, &AnyEvent) -> Option<R>) -> Option<R> {
        self.events
            .iter()
            .find_map(|(position, stream, event)| make(*position, Uuid::parse_str(&stream.id).ok()?, event))
    }

    /// The same outcome with its answer transformed.
    pub fn map<U>(self, f: impl FnOnce(T) -> U) -> Dispatched<U> {
        Dispatched {
            answer: f(self.answer),
            events: self.events,
            checkpoint: self.checkpoint,
            repeated: self.repeated,
        }
    }
}

/// Runs operations on one log, and holds the caches that make most decisions cheap.
pub struct Dispatcher {
    log: EventLog,
    codec: Codec,
    reader: Reader,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    states: cache::States,
    contested_claims: Cache<ClaimKey, ()>,
    contention: contention::Contention,
    /// Callers that recently lost a claim, and how many of their next commands look up claims first: one lost claim
    /// makes the whole batch be sent again.
    colliders: Cache<Uuid, u32>,
    /// Who took a claim recently. May be stale, so a caller must check it against the holder's own state.
    holders: Cache<ClaimKey, Arc<str>>,
}

impl Dispatcher {
    /// A dispatcher on this log, with empty caches.
    #[must_use]
    pub fn new(log: EventLog, codec: Codec, clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) -> Self {
        let reader = Reader::new(log.primary().clone(), codec.keys().clone());
        let (contested_claims, holders) = (Cache::new(CONTESTED_CLAIMS), Cache::new(KNOWN_HOLDERS));
        let colliders = Cache::new(COLLIDERS);
        let states = cache::States::default();
        Self {
            log,
            codec,
            reader,
            clock,
            entropy,
            states,
            contested_claims,
            colliders,
            holders,
            contention: contention::Contention::default(),
        }
    }

    /// Carries out an operation or refuses it. Either way the answer was true at some moment after the call began.
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
            // After a conflict, the losers on this node decide one at a time; in parallel all but one would lose again.
            let mut turn = lost.take().map(|set| self.contention.enter(set));
            if let Some(turn) = &mut turn {
                turn.take_turn().await;
            }
            // Looked up before each decision: a concurrent request with the same key may have been stored meanwhile.
            if let Some(done) = self.completed_before(context, at).await? {
                return Ok(done);
            }
            if let Some(outcome) = self.decide_once(context, operation, at, attempt, &mut lost).await? {
                return Ok(outcome);
            }
        }
        Err(DispatchError::Contended)
    }

    /// Sleeps for a random time before a retry; its upper bound doubles with each attempt. No sleep before the first
    /// few.
    async fn back_off(&self, attempt: u32) {
        let Some(doublings) = attempt.checked_sub(IMMEDIATE_RETRIES) else { return };
        let most = MIN_BACKOFF * 2_u32.pow(doublings.min(MAX_DOUBLINGS));
        let mut random = [0; 4];
        self.entropy.fill(&mut random);
        // Full jitter: commands that conflicted with each other must not retry in step.
        let share = f64::from(u32::from_be_bytes(random)) / f64::from(u32::MAX);
        tokio::time::sleep(most.mul_f64(share)).await;
    }

    /// Decides once and stores the unit. `None` if it must be decided again; `lost` then names the stream, guard or
    /// account that it conflicted on, if it was one of these.
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
                // A refusal may rest on a stale cached state: only a confirmed one is returned.
                return match self.confirm(&work).await? {
                    Some(_) => Err(DispatchError::Refused(refusal)),
                    None => Ok(None),
                };
            }
        };
        // Nothing to append, so the log does not check what was read: confirm it here.
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
            // The subject's key has been destroyed, perhaps by another node: the state is stale. The first attempts
            // retry without asking the log; later ones retry only if the log says that something read is out of date.
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
            // This claim was contested, or this caller lost claims recently: look it up first, because a lost claim
            // makes the whole batch be sent again.
            if (is_cautious || self.contested_claims.get(&claim.key).is_some())
                && let Some(holder) = self.reader.holder(&claim.key, at).await.map_err(Failure::from)?
                && holder != claim.holder
                && !unit.releases(&claim.key, &holder)
            {
                self.colliders.insert(caller(context), CAUTIOUS_FOR);
                // The decision may rest on a stale state; on the current state the answer may be a different one.
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
                // Only after the append: before that the keys are not in the log.
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
            // Repeated: the next attempt finds the stored answer. EpochChanged: it decides in the new epoch.
            Err(AppendError::Repeated | AppendError::EpochChanged) => Ok(None),
            Err(AppendError::ClaimTaken { key, holder }) => {
                self.contested_claims.insert(key.clone(), ());
                self.colliders.insert(caller(context), CAUTIOUS_FOR);
                claim_lost(operation, &key, &holder)
            }
            Err(error) => Err(Failure::Append(error).into()),
        }
    }

    /// Whether this caller lost a claim within its last [`CAUTIOUS_FOR`] commands. Counts this command.
    fn is_cautious(&self, context: &Context) -> bool {
        let caller = caller(context);
        let Some(left) = self.colliders.get(&caller) else { return false };
        match left.checked_sub(1) {
            Some(left) if left > 0 => self.colliders.insert(caller, left),
            _ => drop(self.colliders.remove(&caller)),
        }
        true
    }

    /// The stored answer to the same request, if it was carried out within the last day.
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

    /// Invalidates the caches after an event of any node: drops the older state of its stream and the data keys that
    /// the event destroys.
    pub fn observe(&self, event: &EventHeader) {
        self.states.invalidate_before(&event.stream, event.version);
        if let Some(subject) = ended_subject(&event.stream, &event.event_type) {
            self.codec.keys().forget(&subject.to_string());
            if subject.kind == User::TYPE {
                // Cached invites may hold personal data of the forgotten user too.
                self.states.forget_all(Invite::TYPE);
            }
        }
    }

    /// Checks what a decision without events has read. `None` if any of it is out of date; the states read are then
    /// dropped from the cache.
    async fn confirm(&self, work: &UnitOfWork<'_>) -> Result<Option<Checkpoint>, Failure> {
        let premises = work.premises();
        let checkpoint = self.log.confirm(premises).await?;
        if checkpoint.is_none() {
            self.states.forget(&premises.streams);
        }
        Ok(checkpoint)
    }
}

/// Whose lost claims a command counts towards: the user behind it, or else the credential; nil for the system and the
/// operator.
fn caller(context: &Context) -> Uuid {
    match (context.on_behalf_of, context.actor) {
        (Some(person), _) | (None, Actor::User(person)) => person.as_uuid(),
        (None, Actor::ApiKey(key)) => key.as_uuid(),
        (None, Actor::Token(token)) => token.as_uuid(),
        (None, Actor::System | Actor::Operator) => Uuid::nil(),
    }
}

/// Turns a lost claim into the operation's refusal, or into `None`: decide again.
fn claim_lost<O: Operation>(
    operation: &O,
    key: &ClaimKey,
    holder: &str,
) -> Result<Option<Dispatched<O::Answer>>, DispatchError<O::Refusal>> {
    operation.claim_lost(key.kind, holder).map_or(Ok(None), |refusal| Err(DispatchError::Refused(refusal)))
}
