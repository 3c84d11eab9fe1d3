//! Publishes events, many at once: each message names the sequence that it has to follow, so the stream takes them in order or not
//! at all.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use async_nats::{Client, Message, PublishErrorKind, StatusCode, Subscriber};
use futures::{FutureExt as _, StreamExt as _};
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tokio_util::task::AbortOnDropHandle;

use super::error::RelayError;
use super::message::{Envelope, RelayMessage};
use super::pace::Pace;
use crate::event_log::follow::Follower;
use crate::event_log::{EventLog, ReadError, RecordedEvent};
use crate::ids::EventId;
use crate::nats::error::NatsError;

/// The most messages, and the most bytes, that are under way.
pub(super) const MAX_MESSAGES: usize = 1_024;
const MAX_BYTES: usize = 8 * 1024 * 1024;

/// How long the acknowledgement of a message may take.
const ACK_TIMEOUT: Duration = Duration::from_secs(5);

/// The pause after the log could not be read.
const READ_PAUSE: Duration = Duration::from_millis(200);

/// How many pages wait, besides the one that is being published and the one that is being read.
const PAGES_AHEAD: usize = 1;

/// What the server answers to a message.
#[derive(Deserialize)]
struct Acknowledgement {
    #[serde(default)]
    stream: String,
    #[serde(default)]
    seq: u64,
    error: Option<AcknowledgementError>,
}

#[derive(Deserialize)]
struct AcknowledgementError {
    #[serde(default)]
    err_code: u64,
    #[serde(default)]
    description: String,
}

/// "wrong last sequence" and "wrong last msg ID": the message does not follow the stream's last one.
const DOES_NOT_FOLLOW: [u64; 2] = [10_071, 10_070];

/// Publishes what follows the stream's tail.
pub(super) struct Window {
    client: Client,
    inbox: String,
    answers: Subscriber,
    stream: String,
    envelope: Envelope,
    log: EventLog,
    pace: Pace,
    /// The newest position that the stream has.
    relayed: Arc<AtomicI64>,
    /// Whether messages name the event before them.
    names_previous: bool,
    /// The event before the next message; `None` if the stream has no message.
    previous: Option<EventId>,
    /// Messages that are not acknowledged yet: position, size, and when they were published.
    under_way: VecDeque<(i64, usize, Instant)>,
    bytes: usize,
}

impl Window {
    pub(super) async fn new(
        client: Client,
        stream: String,
        envelope: Envelope,
        log: EventLog,
        relayed: Arc<AtomicI64>,
        (names_previous, previous): (bool, Option<EventId>),
    ) -> Result<Self, NatsError> {
        let inbox = client.new_inbox();
        let answers = client.subscribe(format!("{inbox}.*")).await;
        let answers = answers.map_err(|error| NatsError::Disconnected(error.to_string()))?;
        let (under_way, pace) = (VecDeque::with_capacity(MAX_MESSAGES), Pace::new());
        Ok(Self {
            client,
            inbox,
            answers,
            stream,
            envelope,
            log,
            pace,
            relayed,
            names_previous,
            previous,
            under_way,
            bytes: 0,
        })
    }

    /// Publishes until something stands in the way.
    pub(super) async fn publish(mut self, follower: Follower) -> RelayError {
        let (give, mut events) = mpsc::channel(PAGES_AHEAD);
        // A task of its own: a page that is being read must not be given up when an answer comes. It ends with this call, also
        // when the call itself is given up.
        let _reading = AbortOnDropHandle::new(tokio::spawn(read(follower, give)));
        match self.publish_from(&mut events).await {
            Ok(never) => match never {},
            Err(error) => error,
        }
    }

    async fn publish_from(
        &mut self,
        events: &mut mpsc::Receiver<Result<Vec<RecordedEvent>, ReadError>>,
    ) -> Result<std::convert::Infallible, RelayError> {
        let mut waiting: VecDeque<RecordedEvent> = VecDeque::new();
        let mut next: Option<(i64, RelayMessage)> = None;
        loop {
            let mut is_held = false;
            while self.under_way.len() < MAX_MESSAGES {
                if next.is_none() {
                    next = waiting.pop_front().map(|event| {
                        let message =
                            self.envelope.message(&event, self.previous.filter(|_| self.names_previous));
                        self.previous = Some(event.id);
                        (event.position, message)
                    });
                }
                let Some((_, message)) = &next else { break };
                if self.bytes > 0 && self.bytes + message.size() > MAX_BYTES {
                    break;
                }
                if !self.pace.allows(self.log.seen().get().position) {
                    is_held = true;
                    break;
                }
                if let Some((position, message)) = next.take() {
                    self.send(position, message).await?;
                }
            }
            let oldest = self.under_way.front().map(|(_, _, since)| *since + ACK_TIMEOUT);
            let has_room = waiting.is_empty() && next.is_none();
            let later = Instant::now() + ACK_TIMEOUT;
            tokio::select! {
                answer = self.answers.next() => {
                    let (mut answer, before) = (answer, self.under_way.len());
                    // All that are there, before anything else is published.
                    loop {
                        let Some(message) = answer else {
                            return Err(NatsError::Disconnected("the connection has ended".to_owned()).into());
                        };
                        self.acknowledge(&message)?;
                        match self.answers.next().now_or_never() {
                            Some(more) => answer = more,
                            None => break,
                        }
                    }
                    let taken = u64::try_from(before - self.under_way.len()).unwrap_or_default();
                    metrics::counter!("tenure_relay_events_total").increment(taken);
                }
                page = events.recv(), if has_room => match page {
                    Some(page) => waiting.extend(page?),
                    None => return Err(RelayError::LookAgain("the log is not read any more")),
                },
                () = sleep_until(self.pace.next()), if is_held => {}
                () = sleep_until(oldest.unwrap_or(later)), if oldest.is_some() => {
                    return Err(NatsError::Silent("JetStream does not acknowledge events").into());
                }
            }
        }
    }

    async fn send(&mut self, position: i64, message: RelayMessage) -> Result<(), RelayError> {
        let size = message.size();
        let reply = format!("{}.{position}", self.inbox);
        let RelayMessage { subject, headers, payload } = message;
        let bytes = payload.len();
        let sent = self.client.publish_with_reply_and_headers(subject, reply, headers, payload).await;
        if let Err(error) = sent {
            return Err(match error.kind() {
                PublishErrorKind::MaxPayloadExceeded => {
                    RelayError::TooLarge { position, bytes, most: self.client.max_payload() }
                }
                _ => NatsError::Disconnected(error.to_string()).into(),
            });
        }
        self.under_way.push_back((position, size, Instant::now()));
        self.bytes += size;
        Ok(())
    }

    /// Takes the answer to the oldest message under way: the server answers in the order of publishing.
    fn acknowledge(&mut self, message: &Message) -> Result<(), RelayError> {
        if message.status == Some(StatusCode::NO_RESPONDERS) {
            return Err(RelayError::LookAgain("no stream takes the events"));
        }
        let answer: Option<Acknowledgement> = serde_json::from_slice(&message.payload).ok();
        let Some(answer) = answer else { return Err(RelayError::LookAgain("an answer cannot be read")) };
        match answer.error {
            Some(error) if DOES_NOT_FOLLOW.contains(&error.err_code) => {
                return Err(RelayError::LookAgain("the stream goes on elsewhere"));
            }
            Some(error) => return Err(NatsError::JetStream(error.description).into()),
            None => {}
        }
        let position = message.subject.rsplit('.').next().and_then(|position| position.parse().ok());
        let Some((oldest, size, _)) = self.under_way.pop_front() else {
            return Err(RelayError::LookAgain("an answer to nothing"));
        };
        if position != Some(oldest) || answer.seq != oldest.unsigned_abs() || answer.stream != self.stream {
            return Err(RelayError::LookAgain("an event was stored elsewhere"));
        }
        self.bytes -= size;
        self.relayed.fetch_max(oldest, Ordering::SeqCst);
        Ok(())
    }
}

/// Reads the log, a few pages ahead. An error ends it, except that the log cannot be read at the moment.
async fn read(mut follower: Follower, give: mpsc::Sender<Result<Vec<RecordedEvent>, ReadError>>) {
    loop {
        let page = follower.next().await;
        if let Err(ReadError::Unavailable(error)) = &page {
            tracing::debug!(%error, "the relay cannot read the log; trying again");
            tokio::time::sleep(READ_PAUSE).await;
            continue;
        }
        let is_last = page.is_err();
        if give.send(page).await.is_err() || is_last {
            return;
        }
    }
}
