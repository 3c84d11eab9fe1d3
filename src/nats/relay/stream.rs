//! The relay's stream: made, examined, made anew.
//!
//! A message's sequence is the position of its event. `JetStream` only counts up, so whatever breaks that cannot be mended within a
//! stream, apart from a lost tail, which is published again: a stream that has lost events in its middle is made anew, with its
//! durable consumers, and one that others have written to is refused.

use std::time::Duration;

use async_nats::jetstream::consumer::{Config as ConsumerConfig, DeliverPolicy};
use async_nats::jetstream::context::{Context, GetStreamErrorKind};
use async_nats::jetstream::stream::{
    Config, DiscardPolicy, Info, LastRawMessageErrorKind, RetentionPolicy, StorageType, Stream,
};
use futures::TryStreamExt as _;
use uuid::Uuid;

use super::error::{RelayError, RelayRefusal};
use super::message::{MESSAGE_ID, SUBJECTS};
use super::settings::{RelayFrom, RelaySettings};
use super::store::Record;
use crate::ids::LogId;
use crate::nats::error::NatsError;
use crate::nats::store::Store;

/// The metadata that says whose stream it is.
const OF_LOG: &str = "tenure_log";
const OF_EPOCH: &str = "tenure_epoch";

/// The server remembers message identifiers for this long. Short, because each takes some 300 bytes of its memory, and the expected
/// sequence already refuses repeated messages.
const DUPLICATE_WINDOW: Duration = Duration::from_secs(1);

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
}

/// A stream that can be published to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Opened {
    /// The first position that it carries.
    pub(super) first: i64,
    /// The newest one.
    pub(super) tail: i64,
}

/// What is wrong with a stream.
enum Fault {
    /// Nothing that another stream would mend.
    Refused(RelayRefusal),
    /// Events within it, or at its end, are lost, and their sequences are not free.
    Holes,
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

    /// Whether the server may drop the oldest events.
    const fn is_bounded(&self) -> bool {
        self.settings.max_age.is_some() || self.settings.max_bytes.is_some()
    }

    /// Finds the stream, or makes it, and says where it goes on. `known` is the newest position that this node has seen in it.
    pub(super) async fn open(&self, record: &Record, known: i64) -> Result<Opened, RelayError> {
        let of_epoch = record.epoch == Some(self.epoch);
        let told: Option<RelayFrom> = record.told.as_deref().and_then(|told| told.parse().ok());
        let (_, head) = self.store.event_at(0).await?;
        let Some(stream) = self.find().await? else {
            let first = match (told, record.first) {
                (Some(told), _) => told.resolve(head)?,
                (None, Some(first)) if of_epoch && !record.is_made => first,
                (None, Some(first)) if of_epoch => {
                    let (stream, relayed) = (self.name(), record.relayed);
                    return Err(RelayRefusal::StreamGone { stream, first, relayed }.into());
                }
                // The events of another epoch may not be those of this one: this stream carries all that the former one did.
                (None, Some(first)) => first.min(head + 1),
                (None, None) => head + 1,
            };
            return self.make(first).await;
        };
        let info = stream.get_info().await.map_err(|error| failed(&error))?;
        let own_first = record.first.filter(|_| of_epoch);
        match self.examine(&stream, &info, own_first, head).await? {
            Ok(opened) => {
                if !self.is_met_by(&info.config) {
                    let config = self.config(info.config.clone());
                    self.jetstream.update_stream(config).await.map_err(|error| failed(&error))?;
                }
                let seen = known.max(if of_epoch { record.relayed } else { 0 });
                self.note_open(opened).await?;
                if opened.tail < seen {
                    let lost = (opened.tail + 1, seen);
                    tracing::warn!(from = lost.0, to = lost.1, "JetStream has lost its newest events; publishing them again");
                    metrics::counter!("tenure_relay_repairs_total").increment(1);
                    self.store.note_relay_repair(self.node, lost, false).await?;
                }
                Ok(opened)
            }
            Err(fault) => {
                let first = match (told, fault) {
                    // What others made is never deleted.
                    (_, Fault::Refused(refusal @ RelayRefusal::StreamOfOthers { .. })) => {
                        return Err(refusal.into());
                    }
                    (Some(told), _) => told.resolve(head)?,
                    (None, Fault::Refused(refusal)) => return Err(refusal.into()),
                    (None, Fault::Holes) if record.was_remade => {
                        return Err(RelayRefusal::LosesEvents { stream: self.name() }.into());
                    }
                    (None, Fault::Holes) => {
                        let found = i64::try_from(info.state.first_sequence).unwrap_or(i64::MAX);
                        let first = if self.is_bounded() { found } else { own_first.unwrap_or(found) };
                        let last = i64::try_from(info.state.last_sequence).unwrap_or(i64::MAX);
                        tracing::error!(stream = self.name(), "JetStream has lost events within the stream; making it anew");
                        metrics::counter!("tenure_relay_repairs_total").increment(1);
                        self.store.note_relay_repair(self.node, (first, last), true).await?;
                        first
                    }
                };
                self.make_anew(&stream, first).await
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

    /// Where the stream goes on, or what is wrong with it.
    async fn examine(
        &self,
        stream: &Stream,
        info: &Info,
        first: Option<i64>,
        head: i64,
    ) -> Result<Result<Opened, Fault>, RelayError> {
        let position = |sequence: u64| i64::try_from(sequence).unwrap_or(i64::MAX);
        let (name, metadata) = (self.name(), &info.config.metadata);
        if metadata.get(OF_LOG) != Some(&self.log_id.to_string())
            || metadata.get(OF_EPOCH) != Some(&self.epoch.to_string())
        {
            return Ok(Err(Fault::Refused(RelayRefusal::StreamOfOthers { stream: name })));
        }
        let (oldest, tail) = (position(info.state.first_sequence), position(info.state.last_sequence));
        let first = first.or_else(|| info.config.first_sequence.map(position)).unwrap_or(oldest);
        if tail + 1 < first {
            let next = tail + 1;
            return Ok(Err(Fault::Refused(RelayRefusal::StreamReset { stream: name, next, first })));
        }
        let begins = if self.is_bounded() { oldest.max(first) } else { first };
        if position(info.state.messages) != tail + 1 - begins {
            return Ok(Err(Fault::Holes));
        }
        if info.state.messages > 0 {
            let last = match stream.get_raw_message(info.state.last_sequence).await {
                Ok(message) => message,
                Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => {
                    return Ok(Err(Fault::Holes));
                }
                Err(error) => return Err(failed(&error)),
            };
            let header = |name: &str| last.headers.get(name).map(async_nats::HeaderValue::as_str);
            let is_relayed = header("ce-epoch") == Some(&self.epoch.to_string())
                && header("ce-position") == Some(&tail.to_string());
            if is_relayed && tail > head {
                let refusal = RelayRefusal::StreamAhead { stream: name, tail, head };
                return Ok(Err(Fault::Refused(refusal)));
            }
            let (expected, _) = self.store.event_at(tail).await?;
            if !is_relayed || header(MESSAGE_ID) != expected.map(|id| id.to_string()).as_deref() {
                let refusal = RelayRefusal::OtherMessage { stream: name, sequence: tail };
                return Ok(Err(Fault::Refused(refusal)));
            }
        }
        Ok(Ok(Opened { first, tail }))
    }

    /// Makes the stream, to begin at this position.
    async fn make(&self, first: i64) -> Result<Opened, RelayError> {
        if !self.store.note_relay_begins(self.node, self.epoch, first).await? {
            return Err(RelayError::NotLeading);
        }
        self.retire_former().await?;
        let config = Config {
            first_sequence: Some(first.unsigned_abs()).filter(|first| *first > 1),
            ..self.config(Config::default())
        };
        self.jetstream.create_stream(config).await.map_err(|error| failed(&error))?;
        tracing::info!(stream = self.name(), first, "the relay has made its stream");
        let opened = Opened { first, tail: first - 1 };
        self.note_open(opened).await?;
        Ok(opened)
    }

    /// Makes the stream anew, and gives its durable consumers their places back.
    async fn make_anew(&self, stream: &Stream, first: i64) -> Result<Opened, RelayError> {
        let mut durable = Vec::new();
        let mut consumers = stream.consumers();
        while let Some(consumer) = consumers.try_next().await.map_err(|error| failed(&error))? {
            if consumer.config.durable_name.is_some() {
                let from = consumer.ack_floor.stream_sequence + 1;
                tracing::warn!(consumer = consumer.name, from, "a consumer goes on in the stream that is made anew");
                durable.push(ConsumerConfig {
                    deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: from },
                    ..consumer.config
                });
            }
        }
        // Noted before, so that a stream that is gone because of this is no lost one.
        if !self.store.note_relay_begins(self.node, self.epoch, first).await? {
            return Err(RelayError::NotLeading);
        }
        self.jetstream.delete_stream(self.name()).await.map_err(|error| failed(&error))?;
        let opened = self.make(first).await?;
        for config in durable {
            let name = config.durable_name.clone().unwrap_or_default();
            if let Err(error) = self.jetstream.create_consumer_on_stream(config, self.name()).await {
                tracing::warn!(consumer = name, %error, "a consumer could not be made again");
            }
        }
        Ok(opened)
    }

    async fn note_open(&self, opened: Opened) -> Result<(), RelayError> {
        let place = (self.epoch, opened.first, opened.tail);
        if self.store.note_relay_open(self.node, place).await? { Ok(()) } else { Err(RelayError::NotLeading) }
    }

    /// Takes the subjects from the streams of former epochs. Their messages stay.
    async fn retire_former(&self) -> Result<(), RelayError> {
        let streams: Vec<Info> = self.jetstream.streams().try_collect().await.map_err(|error| failed(&error))?;
        for former in streams {
            let epoch = former.config.metadata.get(OF_EPOCH);
            let Some(epoch) = epoch.filter(|epoch| **epoch != self.epoch.to_string()) else { continue };
            let subjects = vec![format!("tenure.former_events.{epoch}.>")];
            if former.config.subjects != subjects {
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
        let position = |sequence: u64| i64::try_from(sequence).unwrap_or(i64::MAX);
        let oldest = position(state.first_sequence);
        let begins = if self.is_bounded() { oldest.max(opened.first) } else { opened.first };
        let tail = position(state.last_sequence);
        let is_complete = position(state.messages) == tail + 1 - begins;
        // The stream first: what it has more than the log a moment later is not the log's.
        Ok((relayed..=newest()).contains(&tail) && is_complete && self.is_met_by(&info.config))
    }
}
