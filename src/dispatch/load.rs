//! Loads an aggregate: from the cache, or else from its snapshot and the events after it.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;
use uuid::Uuid;

use super::error::Failure;
use super::{Dispatcher, cache::Known};
use crate::aggregates::{AnyEvent, EventSourced};
use crate::event_log::snapshot::SNAPSHOT_EVERY;

/// How long storing a snapshot may delay a command.
const SNAPSHOT_TIMEOUT: Duration = Duration::from_secs(1);

impl Dispatcher {
    /// The state of an aggregate, with its version and a position at which it was current. A cached state may be stale.
    pub(super) async fn load<A>(&self, id: Uuid, epoch: i64) -> Result<(Known, Arc<A>), Failure>
    where
        A: EventSourced,
        A::Event: TryFrom<AnyEvent>,
    {
        let stream = A::stream(id);
        if let Some(seen) = self.states.get(&stream, epoch)
            && let Ok(state) = seen.state.clone().downcast::<A>()
        {
            return Ok((seen, state));
        }
        // Noted before the read: every later read shows at least this position, so the state is current there.
        let position = self.log.seen().get().position;
        let primary = self.log.primary();
        let snapshot = self.log.load_snapshot(&stream, A::STATE_VERSION).await?;
        let restored = match &snapshot {
            Some(snapshot) => self.codec.decode_snapshot::<A>(id, snapshot, primary).await?,
            None => None,
        };
        // A snapshot that this release cannot decode is ignored: all events are folded instead.
        let (mut version, mut state) = match (restored, &snapshot) {
            (Some(state), Some(snapshot)) => (snapshot.version, state),
            _ => (0, A::default()),
        };
        let behind = self.log.read_stream(&stream, version).await?;
        for event in self.codec.decode(&behind, primary).await? {
            if let Ok(event) = A::Event::try_from(event) {
                state.apply(event);
            }
        }
        let tail = i64::try_from(behind.len()).unwrap_or(i64::MAX);
        version += tail;
        if tail >= SNAPSHOT_EVERY {
            self.save_snapshot(id, version, &state, epoch).await;
        }
        let state = Arc::new(state);
        let seen = Known { epoch, version, seen: position, state: state.clone() };
        if version > 0 {
            self.states.keep(stream, seen.clone());
        }
        Ok((seen, state))
    }

    /// Stores a snapshot. A failure is only logged: it costs time at the next load, nothing else.
    async fn save_snapshot<A: EventSourced>(&self, id: Uuid, version: i64, state: &A, epoch: i64) {
        let primary = self.log.primary();
        let stream = A::stream(id);
        match self.codec.encode_snapshot(id, version, state, primary).await {
            Ok(snapshot) => {
                // The caller waits for this: without a timeout, a hanging database would block a command whose state is
                // already loaded.
                match timeout(SNAPSHOT_TIMEOUT, self.log.save_snapshot(&stream, &snapshot, epoch)).await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => tracing::warn!(%stream, %error, "snapshot could not be stored"),
                    Err(_) => tracing::warn!(%stream, "snapshot could not be stored in time"),
                }
            }
            Err(error) => tracing::debug!(%stream, %error, "snapshot could not be created"),
        }
    }
}
