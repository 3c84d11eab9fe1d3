//! Handlers: what a service does with the events of its subscription, and how it says what went wrong.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use tokio_postgres::Transaction;

use crate::event_log::RecordedEvent;
use crate::ids::EventId;
use crate::postgres;

/// The most characters of a failure that are stored and shown.
const MAX_FAILURE_CHARS: usize = 1_000;

/// Changes tables in the database of the log: each event has its effect exactly once.
///
/// The checkpoint is stored in the same transaction as the changes, so that both are stored or neither is.
pub trait TransactionalHandler: Send + Sync + 'static {
    /// Handles consecutive events of one slice, in order, within a transaction that is committed afterwards.
    ///
    /// The events are all those that were ready, so that many can be handled by one statement; after a failure they come
    /// one at a time. Do not commit, and do nothing outside the transaction: it may be rolled back and handled again.
    ///
    /// # Errors
    /// [`Failure`] rolls the transaction back.
    fn handle(
        &self,
        events: &[Arc<RecordedEvent>],
        delivery: &Delivery,
        transaction: &Transaction<'_>,
    ) -> impl Future<Output = Result<(), Failure>> + Send;
}

/// Has effects outside the database, such as sending a message: at least once for each event.
///
/// The checkpoint is stored after the handler has returned. If the process ends in between, the next one gets the event
/// again, with the same [`Delivery::idempotency_key`].
pub trait EffectHandler: Send + Sync + 'static {
    /// Handles one event. Events of a stream come in order, each after the one before has been handled.
    ///
    /// # Errors
    /// [`Failure`] says whether the event or something else is the cause.
    fn handle(
        &self,
        event: &RecordedEvent,
        delivery: &Delivery,
    ) -> impl Future<Output = Result<(), Failure>> + Send;
}

/// Why events were not handled. What caused it decides what happens next, so there is no conversion from any error.
#[derive(Debug)]
pub enum Failure {
    /// The event itself cannot be handled, now or later: its stream is parked, and all other streams go on.
    Event(Box<dyn std::error::Error + Send + Sync>),
    /// Something that the handler needs is not available: the event is tried again, with growing pauses, until it
    /// is. Meanwhile its slice waits.
    Dependency(Box<dyn std::error::Error + Send + Sync>),
}

impl Failure {
    /// The event cannot be handled.
    pub fn event(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Event(cause.into())
    }

    /// Something that the handler needs is not available.
    pub fn dependency(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Dependency(cause.into())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Event(cause) | Self::Dependency(cause)) = self;
        f.write_str(&in_full(&**cause))
    }
}

/// PostgreSQL out of reach, busy or locked is a [`Failure::Dependency`]; a statement that it refuses, such as one that
/// violates a constraint, is a [`Failure::Event`].
impl From<tokio_postgres::Error> for Failure {
    fn from(error: tokio_postgres::Error) -> Self {
        if postgres::is_outage(&error) { Self::dependency(error) } else { Self::event(error) }
    }
}

/// An error followed by its causes, on one line, without what PostgreSQL says about the values of rows.
fn in_full(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = String::new();
    let mut cause = Some(error);
    while let Some(error) = cause {
        let answer = postgres::answer_in(error);
        let is_last = answer.is_some();
        let said = answer.unwrap_or_else(|| error.to_string());
        if !text.contains(&said) {
            text = if text.is_empty() { said } else { format!("{text}: {said}") };
        }
        cause = if is_last { None } else { error.source() };
    }
    one_line(&text)
}

/// Text as it is stored: one line of at most [`MAX_FAILURE_CHARS`] characters.
pub(super) fn one_line(text: &str) -> String {
    let plain = text.chars().map(|letter| if letter.is_control() { ' ' } else { letter });
    plain.take(MAX_FAILURE_CHARS).collect()
}

/// What is known about the delivery of an event.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Delivery {
    /// The name of the subscription.
    pub subscription: Arc<str>,
    /// The slice that the events belong to, from 0.
    pub slice: u32,
    /// How often the delivery of the first event has begun, from 1; greater after a failure or a crash.
    pub attempt: u32,
    /// A fencing token: it grows whenever the slice gets another holder. A store that keeps the greatest one that it has
    /// seen for a slice, and refuses smaller ones, is safe from a holder that was suspended and has lost its lease.
    pub lease_epoch: i64,
}

impl Delivery {
    /// The key that makes an effect of this subscription idempotent: the same for every delivery of an event, by whichever
    /// process and version.
    #[must_use]
    pub fn idempotency_key(&self, event: &RecordedEvent) -> String {
        Self::key_of(&self.subscription, event.id)
    }

    fn key_of(subscription: &str, event: EventId) -> String {
        format!("{subscription}:{event}")
    }
}

pub(super) type Handling<'a> = Pin<Box<dyn Future<Output = Result<(), Failure>> + Send + 'a>>;

/// A [`TransactionalHandler`] of any type.
pub(super) trait AnyTransactionalHandler: Send + Sync {
    fn handle<'a>(
        &'a self,
        events: &'a [Arc<RecordedEvent>],
        delivery: &'a Delivery,
        transaction: &'a Transaction<'a>,
    ) -> Handling<'a>;
}

impl<H: TransactionalHandler> AnyTransactionalHandler for H {
    fn handle<'a>(
        &'a self,
        events: &'a [Arc<RecordedEvent>],
        delivery: &'a Delivery,
        transaction: &'a Transaction<'a>,
    ) -> Handling<'a> {
        Box::pin(TransactionalHandler::handle(self, events, delivery, transaction))
    }
}

/// An [`EffectHandler`] of any type.
pub(super) trait AnyEffectHandler: Send + Sync {
    fn handle<'a>(&'a self, event: &'a RecordedEvent, delivery: &'a Delivery) -> Handling<'a>;
}

impl<H: EffectHandler> AnyEffectHandler for H {
    fn handle<'a>(&'a self, event: &'a RecordedEvent, delivery: &'a Delivery) -> Handling<'a> {
        Box::pin(EffectHandler::handle(self, event, delivery))
    }
}

/// A handler, with when its checkpoint is stored.
#[derive(Clone)]
pub(super) enum Work {
    /// In the handler's transaction.
    Transaction(Arc<dyn AnyTransactionalHandler>),
    /// After the handler has returned.
    Effects(Arc<dyn AnyEffectHandler>),
}
