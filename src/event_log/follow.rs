//! Following the log: every position once, in order, woken by each commit, never passed by one.

use std::sync::Weak;
use std::time::Duration;

use tokio::sync::watch;

use super::committer::EventLog;
use super::error::ReadError;
use super::event::RecordedEvent;
use super::read::{Filter, PAGE};
use super::session::read_head;
use crate::ids::EventId;
use crate::postgres::Database;

/// How long a follower sleeps when nothing wakes it: NOTIFY is only a hint.
const POLL: Duration = Duration::from_millis(500);

/// A place in the log that moves forward with what has been read.
pub struct Follower {
    log: EventLog,
    wake: watch::Receiver<i64>,
    position: i64,
    last: Option<EventId>,
}

impl EventLog {
    /// Follows from behind a position: the first event given has the next one.
    #[must_use]
    pub fn follow(&self, after: i64) -> Follower {
        Follower { log: self.clone(), wake: self.wake_ups(), position: after, last: None }
    }
}

impl Follower {
    /// The position of the last event given.
    #[must_use]
    pub const fn position(&self) -> i64 {
        self.position
    }

    /// The next events, at least one: waits until there are some.
    ///
    /// # Errors
    /// The log cannot be read (ask again: no event is lost), positions are missing, or another log has taken the
    /// place of the one that was followed.
    pub async fn next(&mut self) -> Result<Vec<RecordedEvent>, ReadError> {
        loop {
            self.wake.borrow_and_update();
            let page = self.log.read_page(self.position, &Filter::default(), PAGE).await?;
            if let Some(last) = page.last() {
                if self.last.is_none() || page.len() < usize::try_from(PAGE).unwrap_or(usize::MAX) {
                    self.same_log().await?;
                }
                self.position = last.position;
                self.last = Some(last.id);
                return Ok(page);
            }
            self.same_log().await?;
            let changed = self.wake.changed();
            // A closed channel only means that nobody wakes us any more: the poll goes on.
            let _ = tokio::time::timeout(POLL, changed).await;
        }
    }

    /// Compares the log's identity, its epoch, and the event at our own position.
    async fn same_log(&self) -> Result<(), ReadError> {
        let client = self.log.pool().get().await?;
        let head = read_head(&client).await?;
        let known = self.log.identity();
        if (head.log_id, head.epoch) != (known.log_id, known.epoch) {
            return Err(ReadError::AnotherLog(format!(
                "log {} epoch {} has become log {} epoch {}",
                known.log_id, known.epoch, head.log_id, head.epoch
            )));
        }
        let Some(last) = self.last else { return Ok(()) };
        let statement = client.prepare_cached("select event_id from log.event where position = $1").await?;
        let found = client.query_opt(&statement, &[&self.position]).await?;
        match found.map(|row| row.try_get::<_, EventId>(0)).transpose()? {
            Some(id) if id == last => Ok(()),
            Some(id) => {
                Err(ReadError::AnotherLog(format!("position {} holds {id}, not {last}", self.position)))
            }
            None => Err(ReadError::AnotherLog(format!("position {} has gone", self.position))),
        }
    }
}

/// Listens for commits of all nodes until the log is closed; reconnects by itself.
pub(super) async fn listen(database: Database, wake: Weak<watch::Sender<i64>>) {
    let mut pause = Duration::from_millis(50);
    loop {
        match database.listen("tenure follower", "tenure_log").await {
            Ok(mut listening) => {
                pause = Duration::from_millis(50);
                loop {
                    // Also after (re)connecting: what was committed meanwhile has notified nobody.
                    let Some(wake) = wake.upgrade() else { return };
                    wake.send_modify(|_| {});
                    drop(wake);
                    let notified = tokio::time::timeout(Duration::from_secs(5), listening.notified()).await;
                    if notified == Ok(false) {
                        break;
                    }
                }
            }
            Err(error) => tracing::warn!(%error, "not listening for commits; polling instead"),
        }
        if Weak::strong_count(&wake) == 0 {
            return;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(2));
    }
}
