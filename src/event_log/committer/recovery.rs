//! Recovery after the connection was lost with a batch in flight: finds out whether the batch was stored.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::Committer;
use super::queue::Pending;
use crate::event_log::error::AppendError;
use crate::event_log::session::{Resolution, Session};
use crate::event_log::transaction::Stored;
use crate::postgres::{STATEMENT_TIMEOUT, statement_reason};

impl Committer {
    /// Opens a connection to the server that holds the log.
    pub(super) async fn connect(&mut self) -> Result<Session, AppendError> {
        let session = Session::open(&self.database, &self.seen, &self.projection_set).await?;
        // Other processes may have appended while there was no connection.
        self.recent.reconnected(session.epoch());
        Ok(session)
    }

    /// Finds out whether a batch was stored, for as long as a caller waits for the answer; until then every other unit
    /// is refused, because nothing may be sent before the fence has moved.
    pub(super) async fn find_out_whether_stored(&mut self, units: &[Pending]) -> Option<Stored> {
        let first = units.iter().find_map(|pending| pending.unit.events.first())?;
        let mut pause = Duration::from_millis(20);
        loop {
            let error = match self.connect().await {
                Ok(mut session) => {
                    let (stream, version) = (&first.stream, first.version);
                    let found = session.resolve(&stream.stream_type, &stream.id, version, first.id);
                    let found = timeout(STATEMENT_TIMEOUT, found).await;
                    // Of the session that has looked: the node may have moved on in the meantime.
                    let (epoch, server) = (session.epoch(), session.server());
                    match found {
                        Ok(Ok(resolution)) => {
                            self.session = Some(Arc::new(session));
                            return match resolution {
                                Resolution::Stored { base, recorded_from } => {
                                    Some(Stored { epoch, server, base, recorded_from })
                                }
                                Resolution::NotStored => None,
                            };
                        }
                        Ok(Err(error)) => AppendError::Unavailable(statement_reason(&error)),
                        Err(_) => AppendError::Unavailable("the database did not answer in time".to_owned()),
                    }
                }
                Err(error) => error,
            };
            tracing::warn!(%error, "the outcome of a batch is still unknown");
            while let Ok(pending) = self.submissions.try_recv() {
                self.queue.push(pending);
            }
            self.queue.refuse_all(&error);
            if units.iter().all(Pending::is_abandoned) {
                // Every caller has timed out with "outcome unknown". A process that is to end must not wait for a
                // database that is gone. The fence has not moved, so the batch may still be stored later; that
                // contradicts no answer, and to other batches it is like one of another node.
                return None;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(1));
        }
    }
}
