//! Foreign aggregates: lets other code keep its aggregates in this log, through `CqrsFramework` of cqrs-es.
//!
//! Their events have no sealed fields and take no claims. Stream types of Tenure are refused.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use cqrs_es::{Aggregate, AggregateContext, AggregateError, DomainEvent, EventEnvelope, EventStore};

use super::error::AppendError;
use super::event::{NewEvent, RecordedEvent, StreamId};
use super::log::EventLog;
use super::unit::{Premises, Unit};
use super::upcast::Upcasters;
use crate::clock::Clock;
use crate::entropy::Entropy;
use crate::ids::EventId;

/// Maximum length of a foreign aggregate's identifier, in bytes.
pub const MAX_AGGREGATE_ID_BYTES: usize = 255;

/// An event store for cqrs-es that keeps its events in Tenure's log.
pub struct ForeignStore {
    log: EventLog,
    upcasters: Upcasters,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
}

/// Why an operation on a foreign aggregate is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ForeignError {
    /// The aggregate's type is a stream type of Tenure.
    #[error("`{0}` is a stream type of Tenure; use another TYPE for the aggregate")]
    ReservedType(&'static str),
    /// The identifier is empty, too long, or contains a control character.
    #[error("an aggregate id must have 1 to {MAX_AGGREGATE_ID_BYTES} bytes and no control characters")]
    InvalidId,
    /// An event or the metadata cannot be serialised.
    #[error("the event cannot be serialised: {0}")]
    NotSerialisable(String),
}

impl ForeignStore {
    /// A store on this log; events pass through the upcasters when they are read.
    #[must_use]
    pub fn new(
        log: EventLog,
        upcasters: Upcasters,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Self {
        Self { log, upcasters, clock, entropy }
    }

    fn stream<A: Aggregate>(&self, aggregate_id: &str) -> Result<StreamId, AggregateError<A::Error>> {
        if self.log.reserved_types().contains(&A::TYPE) {
            return Err(unexpected(ForeignError::ReservedType(A::TYPE)));
        }
        let length = 1..=MAX_AGGREGATE_ID_BYTES;
        if !length.contains(&aggregate_id.len()) || aggregate_id.chars().any(char::is_control) {
            return Err(unexpected(ForeignError::InvalidId));
        }
        Ok(StreamId { stream_type: A::TYPE.into(), id: aggregate_id.into() })
    }

    fn envelope<A: Aggregate>(
        &self,
        event: &RecordedEvent,
    ) -> Result<EventEnvelope<A>, AggregateError<A::Error>> {
        let upcast = self.upcasters.apply(event).map_err(unreadable)?;
        let metadata = serde_json::from_value(upcast.metadata).map_err(unreadable)?;
        let payload = serde_json::from_value(upcast.payload).map_err(unreadable)?;
        Ok(EventEnvelope { aggregate_id: upcast.aggregate_id, sequence: upcast.sequence, payload, metadata })
    }
}

/// A loaded foreign aggregate, with the version that its next events follow.
pub struct ForeignContext<A: Aggregate> {
    stream: StreamId,
    version: i64,
    /// The epoch in which it was loaded.
    epoch: i64,
    aggregate: A,
}

impl<A: Aggregate> AggregateContext<A> for ForeignContext<A> {
    fn aggregate(&mut self) -> &mut A {
        &mut self.aggregate
    }
}

impl<A: Aggregate> EventStore<A> for ForeignStore {
    type AC = ForeignContext<A>;

    async fn load_events(
        &self,
        aggregate_id: &str,
    ) -> Result<Vec<EventEnvelope<A>>, AggregateError<A::Error>> {
        let stream = self.stream::<A>(aggregate_id)?;
        let events = self.log.read_stream(&stream, 0).await.map_err(unreachable_database)?;
        events.iter().map(|event| self.envelope(event)).collect()
    }

    async fn load_aggregate(&self, aggregate_id: &str) -> Result<Self::AC, AggregateError<A::Error>> {
        let stream = self.stream::<A>(aggregate_id)?;
        // Before the events: if the epoch changes while they are read, the append is refused.
        let epoch = self.log.seen().get().epoch;
        let mut aggregate = A::default();
        let mut version = 0;
        for envelope in self.load_events(aggregate_id).await? {
            let envelope: EventEnvelope<A> = envelope;
            version = i64::try_from(envelope.sequence).unwrap_or(i64::MAX);
            aggregate.apply(envelope.payload);
        }
        Ok(ForeignContext { stream, version, epoch, aggregate })
    }

    async fn commit(
        &self,
        events: Vec<A::Event>,
        context: Self::AC,
        metadata: HashMap<String, String>,
    ) -> Result<Vec<EventEnvelope<A>>, AggregateError<A::Error>> {
        // The log refuses a unit without events.
        if events.is_empty() {
            return Ok(Vec::new());
        }
        let now = self.clock.now();
        let serialised = |value: serde_json::Result<Vec<u8>>| {
            value
                .map(Bytes::from)
                .map_err(|error| unexpected(ForeignError::NotSerialisable(error.to_string())))
        };
        let stored_metadata = serialised(serde_json::to_vec(&metadata))?;
        let mut unit = Unit {
            at: now,
            premises: Premises {
                epoch: Some(context.epoch),
                ..Premises::of_stream(context.stream.clone(), context.version)
            },
            ..Unit::default()
        };
        for (version, event) in (context.version + 1..).zip(&events) {
            unit.events.push(NewEvent {
                id: EventId::new(now, &*self.entropy),
                stream: context.stream.clone(),
                version,
                event_type: event.event_type().into(),
                event_version: event.event_version().into(),
                account_id: None,
                payload: serialised(serde_json::to_vec(event))?,
                metadata: stored_metadata.clone(),
                sealed: None,
            });
        }
        self.log.append(unit).await.map_err(|error| match error {
            // For both, loading the aggregate again and deciding again is what helps.
            AppendError::Conflict { .. } | AppendError::EpochChanged => AggregateError::AggregateConflict,
            AppendError::Busy
            | AppendError::Unavailable(_)
            | AppendError::OutcomeUnknown
            | AppendError::Closed => AggregateError::DatabaseConnectionError(Box::new(error)),
            _ => unexpected(error),
        })?;
        let aggregate_id = context.stream.id.to_string();
        let first = usize::try_from(context.version).unwrap_or(usize::MAX - 1) + 1;
        Ok((first..)
            .zip(events)
            .map(|(sequence, payload)| EventEnvelope {
                aggregate_id: aggregate_id.clone(),
                sequence,
                payload,
                metadata: metadata.clone(),
            })
            .collect())
    }
}

fn unexpected<T: std::error::Error>(
    error: impl std::error::Error + Send + Sync + 'static,
) -> AggregateError<T> {
    AggregateError::UnexpectedError(Box::new(error))
}

fn unreadable<T: std::error::Error>(
    error: impl std::error::Error + Send + Sync + 'static,
) -> AggregateError<T> {
    AggregateError::DeserializationError(Box::new(error))
}

fn unreachable_database<T: std::error::Error>(
    error: impl std::error::Error + Send + Sync + 'static,
) -> AggregateError<T> {
    AggregateError::DatabaseConnectionError(Box::new(error))
}
