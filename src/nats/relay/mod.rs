//! The relay: every event of the log on `JetStream` once, in order, at the sequence that is its position.
//!
//! ```text
//! log.event ──► follower ──► message.rs ──► window.rs ──► tenure_events_<epoch>
//!                            CloudEvent     up to 1,024   stream.rs: made, examined, made anew
//!                                           under way
//! ```
//!
//! One node relays, by a lease. The lease only keeps nodes out of each other's way: each message names the stream and the sequence
//! that it has to follow, so that of two publishers at most one is taken, with the same event. How far the relay has come is what the
//! stream has; the log is the truth, and what `JetStream` has lost is published again.

mod error;
mod message;
mod pace;
mod settings;
mod store;
mod stream;
mod window;

pub(super) use error::RelayError;
pub use error::RelayRefusal;
pub use message::SUBJECTS;
pub use settings::{MalformedFrom, RelayFrom, RelaySettings};
pub(super) use store::Record;
pub use stream::relay_stream_name;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use async_nats::jetstream::context::{Context, ContextBuilder};

use self::message::Envelope;
use self::stream::{Opened, RelayStream};
use self::window::Window;
use super::error::NatsError;
use super::handle::{Nats, Ready};
use super::store::{LEASE_SECONDS, Store};
use crate::Tenure;
use crate::clock::Stopwatch;
use crate::event_log::ReadError;

/// How often the lease is renewed, and looked for.
const RENEW_EVERY: Duration = Duration::from_secs(1);

/// How often the stream is compared with what was published.
const COMPARE_EVERY: Duration = Duration::from_secs(2);

/// The pauses before the stream is looked at again.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// After how many failures in a row without progress another node may try.
const MOST_IN_VAIN: u32 = 5;

/// How long an answer about the stream may take.
const JETSTREAM_TIMEOUT: Duration = Duration::from_secs(4);

/// How far the relay of this node has come.
#[derive(Clone, Default)]
struct Progress {
    /// The newest position that the stream of this epoch was seen to have.
    epoch: i64,
    relayed: Arc<AtomicI64>,
}

/// Says from where the relay begins a stream, if the present one is gone or cannot go on.
///
/// # Errors
/// [`NatsError::Store`]
pub async fn tell_relay(tenure: &Tenure, from: RelayFrom) -> Result<(), NatsError> {
    Ok(Store::new(tenure.clone()).tell_relay(from).await?)
}

impl Nats {
    /// Relays the log while this node holds the lease, for ever.
    pub(super) async fn keep_relaying(&self) {
        let settings = &self.parts.settings.relay;
        if !settings.is_on {
            return std::future::pending().await;
        }
        // Before NATS is reached: what is stored from now on is relayed, however long that takes.
        while let Err(error) = self.begin_relay(settings.from).await {
            tracing::debug!(%error, "from where to relay cannot be stored; trying again");
            tokio::time::sleep(RENEW_EVERY).await;
        }
        let mut progress = Progress::default();
        let (mut pause, mut in_vain) = (FIRST_PAUSE, 0);
        loop {
            let before = progress.relayed.load(Ordering::SeqCst);
            let error = match self.ready().await {
                Ok(ready) => self.relay_until(&ready, &mut progress).await,
                Err(error) => error.into(),
            };
            let got_on = progress.relayed.load(Ordering::SeqCst) > before;
            let passes = matches!(error, RelayError::Nats(_) | RelayError::Log(_));
            in_vain = if passes && !got_on { in_vain + 1 } else { 0 };
            self.note(&error, &progress).await;
            pause = match &error {
                RelayError::NotLeading => {
                    progress = Progress::default();
                    RENEW_EVERY
                }
                // Another node may be better off.
                _ if in_vain >= MOST_IN_VAIN => {
                    self.give_relay_up().await;
                    progress = Progress::default();
                    in_vain = 0;
                    LONGEST_PAUSE * 2
                }
                _ if got_on => FIRST_PAUSE,
                _ => (pause * 2).min(LONGEST_PAUSE),
            };
            tokio::time::sleep(pause).await;
        }
    }

    async fn begin_relay(&self, from: Option<RelayFrom>) -> Result<(), ReadError> {
        match from {
            Some(from) => self.parts.store.tell_relay(from).await,
            None => self.parts.store.begin_relay().await,
        }
    }

    async fn give_relay_up(&self) {
        if let Err(error) = self.parts.store.release_relay(self.parts.tenure.node()).await {
            tracing::debug!(%error, "the lease to relay could not be given back; it ends by itself");
        }
    }

    /// Stores why the relay does not get on, for `tenure nats status`, and shows it in the metrics.
    async fn note(&self, error: &RelayError, progress: &Progress) {
        let (refusal, failure) = match error {
            // The metrics are those of the node that relays.
            RelayError::NotLeading => return show(0, 0, false, false),
            RelayError::LookAgain(reason) => {
                tracing::debug!(reason, "the relay looks at its stream again");
                return;
            }
            // The log has a new epoch: so has the stream.
            RelayError::Log(ReadError::LogReplaced { .. }) => return,
            RelayError::Refused(refusal) => (Some(refusal.to_string()), None),
            RelayError::TooLarge { .. } | RelayError::Nats(_) | RelayError::Log(_) => {
                (None, Some(error.to_string()))
            }
        };
        let (store, node) = (&self.parts.store, self.parts.tenure.node());
        let Ok(record) = store.relay().await else { return };
        if record.node.is_some_and(|relaying| relaying != node) {
            return show(0, 0, false, false);
        }
        let newest = self.parts.tenure.log().seen().get().position;
        let relayed = record.relayed.max(progress.relayed.load(Ordering::SeqCst));
        show(relayed, newest, refusal.is_some(), failure.is_some());
        if record.failure != failure || refusal.is_some() && record.refusal != refusal {
            tracing::warn!(%error, "the relay does not get on; it tries again");
        }
        if let Err(error) = store.note_relay_failure(node, refusal.as_deref(), failure.as_deref()).await {
            tracing::debug!(%error, "why the relay does not get on cannot be stored");
        }
    }

    /// Relays until something stands in the way.
    async fn relay_until(&self, ready: &Ready, progress: &mut Progress) -> RelayError {
        let (store, node) = (&self.parts.store, self.parts.tenure.node());
        let held = Stopwatch::start();
        let taken = if self.parts.settings.pauses.outlives_leases {
            store.relay().await.map(Some)
        } else {
            store.take_relay(node).await
        };
        let record = match taken {
            Ok(Some(record)) => record,
            Ok(None) => return RelayError::NotLeading,
            Err(error) => return error.into(),
        };
        let epoch = self.parts.tenure.log().seen().get().epoch;
        if progress.epoch != epoch {
            *progress = Progress { epoch, ..Progress::default() };
        }
        let relayed = progress.relayed.clone();
        tokio::select! {
            error = self.relay_as_leader(ready, &record, epoch, &relayed) => error,
            error = self.keep_lease(held, epoch, &relayed) => error,
        }
    }

    async fn relay_as_leader(
        &self,
        ready: &Ready,
        record: &Record,
        epoch: i64,
        relayed: &Arc<AtomicI64>,
    ) -> RelayError {
        match self.relay_on_a_connection(ready, record, epoch, relayed).await {
            Ok(never) => match never {},
            Err(error) => error,
        }
    }

    async fn relay_on_a_connection(
        &self,
        ready: &Ready,
        record: &Record,
        epoch: i64,
        relayed: &Arc<AtomicI64>,
    ) -> Result<std::convert::Infallible, RelayError> {
        let (tenure, settings) = (&self.parts.tenure, &self.parts.settings);
        let platform = self.ensure_platform(ready).await?;
        let mut connection = self.connect_to_platform(&platform).await?;
        let client = connection.client.clone();
        let jetstream = ContextBuilder::new().timeout(JETSTREAM_TIMEOUT).build(client.clone());
        let stream = self.relay_stream(&jetstream, epoch);
        let opened = stream.open(record, relayed.load(Ordering::SeqCst)).await?;
        // The stream may have lost its tail: what was seen of it before does not count any more.
        relayed.store(opened.tail, Ordering::SeqCst);
        let log = tenure.log().clone();
        let follower = log.follow(opened.tail);
        if follower.checkpoint().epoch != epoch {
            return Err(RelayError::LookAgain("the log has a new epoch"));
        }
        let name = relay_stream_name(epoch);
        let types = crate::aggregates::STREAM_TYPES;
        let envelope = Envelope::new(log.log_id(), epoch, &name, types, &settings.relay.public_foreign);
        // Each replica would compare the event before by itself, and one that has just come back would fail for good: a message that
        // it has already is no more than a repetition to the sequence, but has another event before it.
        let previous = (settings.replicas == 1, opened.last);
        let window = Window::new(client, name, envelope, log, relayed.clone(), previous).await?;
        tracing::info!(after = opened.tail, "relaying");
        tokio::select! {
            error = window.publish(follower) => Err(error),
            error = self.compare_stream(&stream, opened, relayed) => Err(error),
            () = connection.lost() => {
                Err(NatsError::Disconnected("the connection of the relay was lost".to_owned()).into())
            }
        }
    }

    fn relay_stream<'a>(&'a self, jetstream: &'a Context, epoch: i64) -> RelayStream<'a> {
        let tenure = &self.parts.tenure;
        RelayStream {
            jetstream,
            store: &self.parts.store,
            node: tenure.node(),
            log_id: tenure.log().log_id(),
            epoch,
            replicas: self.parts.settings.replicas,
            settings: &self.parts.settings.relay,
            outlives_leases: self.parts.settings.pauses.outlives_leases,
        }
    }

    /// Returns when the stream lacks something that it had, or an operator has changed it.
    async fn compare_stream(
        &self,
        stream: &RelayStream<'_>,
        opened: Opened,
        relayed: &AtomicI64,
    ) -> RelayError {
        loop {
            tokio::time::sleep(COMPARE_EVERY).await;
            let newest = || self.parts.tenure.log().seen().get().position;
            match stream.is_whole(opened, relayed.load(Ordering::SeqCst), newest).await {
                Ok(true) => {}
                Ok(false) => return RelayError::LookAgain("the stream is not as it was"),
                Err(error) => return error,
            }
        }
    }

    /// Renews the lease. Returns when it is lost, or an operator has told something.
    async fn keep_lease(&self, mut held: Stopwatch, epoch: i64, relayed: &AtomicI64) -> RelayError {
        let (store, node) = (&self.parts.store, self.parts.tenure.node());
        if self.parts.settings.pauses.outlives_leases {
            return std::future::pending().await;
        }
        loop {
            tokio::time::sleep(RENEW_EVERY).await;
            let newest = self.parts.tenure.log().seen().get().position;
            let position = relayed.load(Ordering::SeqCst);
            show(position, newest, false, false);
            let since = Stopwatch::start();
            match store.renew_relay(node, epoch, position).await {
                Ok(Some(false)) => held = since,
                Ok(Some(true)) => return RelayError::LookAgain("an operator has told where to begin"),
                Ok(None) => return RelayError::NotLeading,
                Err(error) => {
                    tracing::debug!(%error, "the lease to relay cannot be renewed");
                    if held.elapsed().as_secs_f64() > LEASE_SECONDS {
                        return RelayError::NotLeading;
                    }
                }
            }
        }
    }
}

/// Shows how far the relay of this node has come.
#[allow(clippy::cast_precision_loss)] // positions below 2^53
fn show(position: i64, newest: i64, is_stopped: bool, is_failing: bool) {
    metrics::gauge!("tenure_relay_position").set(position as f64);
    metrics::gauge!("tenure_relay_lag_events").set((newest - position).max(0) as f64);
    metrics::gauge!("tenure_relay_stopped").set(u32::from(is_stopped));
    metrics::gauge!("tenure_relay_failing").set(u32::from(is_failing));
}
