//! The relay's stream: made, examined, made anew.
//!
//! A message's sequence is the position of its event. `JetStream` only counts up, so whatever breaks that cannot be mended within a
//! stream, apart from a lost tail, which is published again: a stream that has lost events in its middle is made anew, with its
//! durable consumers, and one that others have written to is refused.

use std::ops::Range;
use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::consumer::{AckPolicy, Config as ConsumerConfig, DeliverPolicy, pull};
use async_nats::jetstream::context::{Context, GetStreamErrorKind};
use async_nats::jetstream::stream::{
    Config, DiscardPolicy, Info, LastRawMessageErrorKind, RetentionPolicy, StorageType, Stream,
};
use futures::{StreamExt as _, TryStreamExt as _};
use uuid::Uuid;

use super::error::{RelayError, RelayRefusal};
use super::message::{MESSAGE_ID, SUBJECTS};
use super::settings::RelaySettings;
use super::store::Record;
use super::window::MAX_MESSAGES;
use crate::ids::{EventId, LogId};
use crate::nats::error::NatsError;
use crate::nats::store::Store;

/// The metadata that says whose stream it is.
const OF_LOG: &str = "tenure_log";
const OF_EPOCH: &str = "tenure_epoch";

/// The server remembers message identifiers for this long. Short, because each takes some 300 bytes of its memory, and the expected
/// sequence already refuses repeated messages.
const DUPLICATE_WINDOW: Duration = Duration::from_secs(1);

/// The most messages of a publisher that can be in the stream without its having seen them acknowledged.
#[allow(clippy::cast_possible_wrap)] // a small constant
const MOST_UNDER_WAY: i64 = MAX_MESSAGES as i64;

/// How long the newest messages may take to be read.
const COMPARED_WITHIN: Duration = Duration::from_secs(5);

/// The name of the stream of an epoch.
#[must_use]
pub fn relay_stream_name(epoch: i64) -> String {
    format!("tenure_events_{epoch}")
}

/// Makes and examines the stream of one epoch.
pub(super) struct RelayStream<'a> {
    pub(super) jetstream: &'a Context,
    pub(super) store: &'a Store,
    pub(super) node: Uuid,
    pub(super) log_id: LogId,
    pub(super) epoch: i64,
    pub(super) replicas: usize,
    pub(super) settings: &'a RelaySettings,
    /// Whether it goes on although the lease is another node's, as one that was suspended.
    pub(super) outlives_leases: bool,
}

/// A stream that can be published to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Opened {
    /// The first position that it carries.
    pub(super) first: i64,
    /// The newest one.
    pub(super) tail: i64,
    /// The event of that message; `None` if there is no message.
    pub(super) last: Option<EventId>,
}

/// What is wrong with a stream.
enum Fault {
    /// It takes an operator to decide.
    Refused(RelayRefusal),
    /// Events within it, or at its end, are lost, and their sequences are not free.
    Holes,
}

/// A sequence as a position.
fn position(sequence: u64) -> i64 {
    i64::try_from(sequence).unwrap_or(i64::MAX)
}

fn failed(error: &dyn std::fmt::Display) -> RelayError {
    NatsError::JetStream(error.to_string()).into()
}

impl RelayStream<'_> {
    fn name(&self) -> String {
        relay_stream_name(self.epoch)
    }

    /// The configuration, made from another one, of which only what is managed here is changed.
    fn config(&self, from: Config) -> Config {
        let mut metadata = from.metadata.clone();
        metadata.insert(OF_LOG.to_owned(), self.log_id.to_string());
        metadata.insert(OF_EPOCH.to_owned(), self.epoch.to_string());
        Config {
            name: self.name(),
            description: Some("The events of Tenure's log; a message's sequence is its position".to_owned()),
            subjects: vec![format!("{SUBJECTS}.>")],
            retention: RetentionPolicy::Limits,
            storage: StorageType::File,
            discard: DiscardPolicy::Old,
            max_age: self.settings.max_age.unwrap_or_default(),
            max_bytes: self.settings.max_bytes.unwrap_or(-1),
            max_messages: -1,
            max_messages_per_subject: -1,
            duplicate_window: DUPLICATE_WINDOW,
            num_replicas: self.replicas,
            // A message that is deleted or purged by hand would be a lost event.
            deny_delete: true,
            deny_purge: true,
            metadata,
            ..from
        }
    }

    fn is_met_by(&self, found: &Config) -> bool {
        let wanted = self.config(found.clone());
        let unlimited = |value: i64| if value <= 0 { -1 } else { value };
        let mut same = wanted.clone();
        (same.max_messages, same.max_bytes) = (found.max_messages, found.max_bytes);
        same.max_messages_per_subject = found.max_messages_per_subject;
        same == *found
            && unlimited(found.max_messages) == -1
            && unlimited(found.max_messages_per_subject) == -1
            && unlimited(found.max_bytes) == unlimited(wanted.max_bytes)
    }

    /// Whether the server may drop the oldest events, or may have done so.
    fn is_bounded(&self, config: &Config) -> bool {
        let is_set = self.settings.max_age.is_some() || self.settings.max_bytes.is_some();
        is_set || !config.max_age.is_zero() || config.max_bytes > 0
    }

    /// Finds the stream, or makes it, and says where it goes on. `known` is the newest position that this node has seen in it.
    pub(super) async fn open(&self, record: &Record, known: i64) -> Result<Opened, RelayError> {
        let of_epoch = record.epoch == Some(self.epoch);
        let (head, _) = self.store.newest().await?;
        let beyond_head =
            |from: i64| if from > head + 1 { Err(RelayRefusal::BeyondHead { from, head }) } else { Ok(from) };
        let Some(stream) = self.find().await? else {
            let first = match (record.told, record.first) {
                (Some(told), _) => beyond_head(told)?,
                (None, Some(first)) if of_epoch && !record.is_made => first,
                (None, Some(first)) if of_epoch => {
                    let (stream, relayed) = (self.name(), record.relayed);
                    return Err(RelayRefusal::StreamGone { stream, first, relayed }.into());
                }
                // The events of another epoch may not be those of this one: this stream carries all that the former one did.
                (None, Some(first)) => first.min(head + 1),
                (None, None) => head + 1,
            };
            // Making it anew may have been interrupted.
            let consumers = record.consumers.as_deref().filter(|_| of_epoch);
            return self.make(first, consumers, None).await;
        };
        let info = stream.get_info().await.map_err(|error| failed(&error))?;
        let seen = known.max(if of_epoch { record.relayed } else { 0 });
        let own_first = record.first.filter(|_| of_epoch);
        match self.examine(&stream, &info, own_first, seen).await? {
            // All of it, and more.
            Ok(opened)
                if record.told.is_some_and(|told| told < opened.first) && !self.is_bounded(&info.config) =>
            {
                self.make_anew(&stream, &info, record.told.unwrap_or(opened.first), None).await
            }
            Ok(opened) => {
                if !self.is_met_by(&info.config) {
                    // A stream of a former epoch may have the subjects.
                    self.retire_former().await?;
                    let config = self.config(info.config.clone());
                    self.jetstream.update_stream(config).await.map_err(|error| failed(&error))?;
                }
                self.note_open(opened).await?;
                if opened.tail < seen {
                    let lost = (opened.tail + 1, seen);
                    tracing::warn!(
                        from = lost.0,
                        to = lost.1,
                        "JetStream has lost its newest events; publishing them again"
                    );
                    metrics::counter!("tenure_relay_repairs_total").increment(1);
                    self.store.note_relay_repair(self.node, lost).await?;
                }
                Ok(opened)
            }
            // What others made is never deleted.
            Err(Fault::Refused(refusal @ RelayRefusal::StreamOfOthers { .. })) => Err(refusal.into()),
            Err(fault) => {
                let (first, lost) = match (record.told, fault) {
                    (Some(told), _) => (beyond_head(told)?, None),
                    (None, Fault::Refused(refusal)) => return Err(refusal.into()),
                    (None, Fault::Holes) if record.was_remade && record.is_made => {
                        return Err(RelayRefusal::LosesEvents { stream: self.name() }.into());
                    }
                    (None, Fault::Holes) => {
                        let oldest = position(info.state.first_sequence);
                        let first =
                            if self.is_bounded(&info.config) { oldest } else { own_first.unwrap_or(oldest) };
                        (first, Some((first, position(info.state.last_sequence))))
                    }
                };
                self.make_anew(&stream, &info, first, lost).await
            }
        }
    }

    async fn find(&self) -> Result<Option<Stream>, RelayError> {
        match self.jetstream.get_stream(self.name()).await {
            Ok(stream) => Ok(Some(stream)),
            Err(error) => match error.kind() {
                GetStreamErrorKind::JetStream(reason) if reason.code() == 404 => Ok(None),
                _ => Err(failed(&error)),
            },
        }
    }

    /// Where the stream goes on, or what is wrong with it. `seen` is the newest position that was seen in it.
    async fn examine(
        &self,
        stream: &Stream,
        info: &Info,
        first: Option<i64>,
        seen: i64,
    ) -> Result<Result<Opened, Fault>, RelayError> {
        let (name, metadata) = (self.name(), &info.config.metadata);
        if metadata.get(OF_LOG) != Some(&self.log_id.to_string())
            || metadata.get(OF_EPOCH) != Some(&self.epoch.to_string())
        {
            return Ok(Err(Fault::Refused(RelayRefusal::StreamOfOthers { stream: name })));
        }
        let (oldest, tail) = (position(info.state.first_sequence), position(info.state.last_sequence));
        let begun = first.or_else(|| info.config.first_sequence.map(position)).unwrap_or(oldest);
        if tail + 1 < begun {
            let (next, first) = (tail + 1, begun);
            return Ok(Err(Fault::Refused(RelayRefusal::StreamReset { stream: name, next, first })));
        }
        let is_bounded = self.is_bounded(&info.config);
        let first = if is_bounded { oldest.max(begun) } else { begun };
        if position(info.state.messages) != tail + 1 - first {
            return Ok(Err(Fault::Holes));
        }
        if info.state.messages == 0 {
            // What was last in a stream whose messages have all expired can be seen nowhere.
            if is_bounded && tail > seen.max(begun - 1) {
                let (sequence, relayed, next) = (tail, seen, seen + 1);
                let refusal = RelayRefusal::NotVerified { stream: name, sequence, relayed, next };
                return Ok(Err(Fault::Refused(refusal)));
            }
            return Ok(Ok(Opened { first, tail, last: None }));
        }
        let last = match stream.get_raw_message(info.state.last_sequence).await {
            Ok(message) => message,
            Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => {
                return Ok(Err(Fault::Holes));
            }
            Err(error) => return Err(failed(&error)),
        };
        // After the message was seen, so that the log has had it by then.
        let (expected, head) = self.store.event_at(tail).await?;
        let newest = first.max(tail + 1 - MOST_UNDER_WAY)..tail + 1;
        let refusal = match (self.find_other(stream, newest).await?, expected) {
            (Some(sequence), _) => RelayRefusal::OtherMessage { stream: name, sequence },
            (None, None) => RelayRefusal::StreamAhead { stream: name, tail, head },
            (None, Some(id)) if self.is_of(&last.headers, tail, Some(id)) => {
                return Ok(Ok(Opened { first, tail, last: Some(id) }));
            }
            // Replaced since it was looked at.
            (None, Some(_)) => RelayRefusal::OtherMessage { stream: name, sequence: tail },
        };
        Ok(Err(Fault::Refused(refusal)))
    }

    /// Whether the relay has made this message for the event of this position, which may be one that the log does not have.
    fn is_of(&self, headers: &HeaderMap, position: i64, event: Option<EventId>) -> bool {
        let has = |name: &str, value: String| headers.get(name).is_some_and(|found| found.as_str() == value);
        has("ce-epoch", self.epoch.to_string())
            && has("ce-position", position.to_string())
            && event.is_none_or(|event| has(MESSAGE_ID, event.to_string()))
    }

    /// The first of these positions whose message is not its event. Among the messages that were under way when a publisher ended,
    /// someone else's may have taken the place of an event, and the next ones may have followed it.
    async fn find_other(&self, stream: &Stream, positions: Range<i64>) -> Result<Option<i64>, RelayError> {
        let mut events = self.store.events_in(positions.clone()).await?.into_iter();
        let config = pull::Config {
            description: Some("compares the newest messages with the log".to_owned()),
            deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: positions.start.unsigned_abs() },
            ack_policy: AckPolicy::None,
            headers_only: true,
            memory_storage: true,
            inactive_threshold: COMPARED_WITHIN,
            ..pull::Config::default()
        };
        let consumer = stream.create_consumer(config).await.map_err(|error| failed(&error))?;
        let batch = usize::try_from(positions.end - positions.start).unwrap_or_default();
        // Waits: a replica that has just come back may not have them all yet.
        let fetched = consumer.batch().max_messages(batch).expires(COMPARED_WITHIN).messages().await;
        let mut messages = fetched.map_err(|error| failed(&error))?;
        for position in positions {
            let message = messages.next().await.transpose().map_err(|error| failed(&*error))?;
            let Some(message) = message else {
                return Err(NatsError::Silent("JetStream does not give its newest messages").into());
            };
            let sequence =
                message.info().map(|info| info.stream_sequence).map_err(|error| failed(&*error))?;
            if sequence != position.unsigned_abs() {
                return Err(RelayError::LookAgain("messages have gone while they were compared"));
            }
            let event = events.next();
            if !message.headers.as_ref().is_some_and(|headers| self.is_of(headers, position, event)) {
                return Ok(Some(position));
            }
        }
        Ok(None)
    }

    /// Makes the stream, to begin at this position, with these consumers. `lost` is what was lost, if it is made anew for that.
    async fn make(
        &self,
        first: i64,
        consumers: Option<&str>,
        lost: Option<(i64, i64)>,
    ) -> Result<Opened, RelayError> {
        self.note_begins(first, consumers, lost).await?;
        self.create(first, consumers).await
    }

    async fn note_begins(
        &self,
        first: i64,
        consumers: Option<&str>,
        lost: Option<(i64, i64)>,
    ) -> Result<(), RelayError> {
        let noted = self.store.note_relay_begins(self.node, (self.epoch, first), consumers, lost).await?;
        if noted || self.outlives_leases { Ok(()) } else { Err(RelayError::NotLeading) }
    }

    async fn create(&self, first: i64, consumers: Option<&str>) -> Result<Opened, RelayError> {
        self.retire_former().await?;
        let config = Config {
            first_sequence: Some(first.unsigned_abs()).filter(|first| *first > 1),
            ..self.config(Config::default())
        };
        self.jetstream.create_stream(config).await.map_err(|error| failed(&error))?;
        tracing::info!(stream = self.name(), first, "the relay has made its stream");
        let consumers: Vec<ConsumerConfig> =
            consumers.and_then(|json| serde_json::from_str(json).ok()).unwrap_or_default();
        for config in consumers {
            let name = config.durable_name.clone().unwrap_or_default();
            let made = self.jetstream.create_consumer_on_stream(config, self.name()).await;
            made.map_err(|error| NatsError::JetStream(format!("consumer {name}: {error}")))?;
        }
        let opened = Opened { first, tail: first - 1, last: None };
        self.note_open(opened).await?;
        Ok(opened)
    }

    /// Makes the stream anew, and gives its durable consumers their places back.
    async fn make_anew(
        &self,
        stream: &Stream,
        examined: &Info,
        first: i64,
        lost: Option<(i64, i64)>,
    ) -> Result<Opened, RelayError> {
        let mut durable = Vec::new();
        let mut consumers = stream.consumers();
        while let Some(consumer) = consumers.try_next().await.map_err(|error| failed(&error))? {
            if consumer.config.durable_name.is_some() {
                let start_sequence =
                    (consumer.ack_floor.stream_sequence + 1).max(examined.state.first_sequence);
                let deliver_policy = DeliverPolicy::ByStartSequence { start_sequence };
                durable.push(ConsumerConfig { deliver_policy, ..consumer.config });
            }
        }
        tracing::error!(stream = self.name(), first, consumers = durable.len(), "the stream is made anew");
        metrics::counter!("tenure_relay_repairs_total").increment(u64::from(lost.is_some()));
        let durable = serde_json::to_string(&durable).map_err(|error| failed(&error))?;
        // Noted before: a stream that is gone because of this is no lost one.
        self.note_begins(first, Some(&durable), lost).await?;
        // JetStream deletes whatever has the name: not what another node has made meanwhile.
        let found = stream.get_info().await.map_err(|error| failed(&error))?;
        let holds = self.store.renew_relay(self.node, self.epoch, first - 1).await?.is_some();
        if found.created != examined.created || !holds {
            return Err(RelayError::LookAgain("another stream was made"));
        }
        self.jetstream.delete_stream(self.name()).await.map_err(|error| failed(&error))?;
        self.create(first, Some(&durable)).await
    }

    async fn note_open(&self, opened: Opened) -> Result<(), RelayError> {
        let place = (self.epoch, opened.first, opened.tail);
        let noted = self.store.note_relay_open(self.node, place).await?;
        if noted || self.outlives_leases { Ok(()) } else { Err(RelayError::NotLeading) }
    }

    /// Takes the subjects from the streams of former epochs. Their messages stay.
    async fn retire_former(&self) -> Result<(), RelayError> {
        let streams: Vec<Info> =
            self.jetstream.streams().try_collect().await.map_err(|error| failed(&error))?;
        for former in streams {
            let metadata = &former.config.metadata;
            let epoch = metadata.get(OF_EPOCH).and_then(|epoch| epoch.parse().ok());
            let is_former = metadata.get(OF_LOG) == Some(&self.log_id.to_string())
                && epoch.is_some_and(|epoch| {
                    epoch != self.epoch && former.config.name == relay_stream_name(epoch)
                });
            let subjects = vec![format!("tenure.former_events.{}.>", epoch.unwrap_or_default())];
            if is_former && former.config.subjects != subjects {
                let stream = former.config.name.clone();
                let config = Config { subjects, ..former.config };
                self.jetstream.update_stream(config).await.map_err(|error| failed(&error))?;
                tracing::info!(stream, "the stream of a former epoch ends");
            }
        }
        Ok(())
    }

    /// Whether the stream still has what was published, all of it, and nothing that the log does not have: `newest` is the newest
    /// position that this node has seen.
    pub(super) async fn is_whole(
        &self,
        opened: Opened,
        relayed: i64,
        newest: impl FnOnce() -> i64,
    ) -> Result<bool, RelayError> {
        let Some(mut stream) = self.find().await? else { return Ok(false) };
        let info = stream.info().await.map_err(|error| failed(&error))?;
        let state = &info.state;
        let oldest = position(state.first_sequence);
        let begins = if self.is_bounded(&info.config) { oldest.max(opened.first) } else { opened.first };
        let tail = position(state.last_sequence);
        let is_complete = position(state.messages) == tail + 1 - begins;
        // The stream first: what it has more than the log a moment later is not the log's.
        Ok((relayed..=newest()).contains(&tail) && is_complete && self.is_met_by(&info.config))
    }
}
