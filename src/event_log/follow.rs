//! Following the log: every position once, in order, woken by each commit, never passed by one.

use std::sync::Weak;
use std::time::Duration;

use tokio::sync::watch;

use super::error::ReadError;
use super::event::RecordedEvent;
use super::log::EventLog;
use super::read::{PAGE, contiguous};
use crate::ids::{EventId, LogId};
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

    /// How many events this node has committed that the follower has not given yet; commits of other nodes are
    /// counted once they are seen.
    #[must_use]
    pub fn behind(&self) -> i64 {
        (*self.wake.borrow() - self.position).max(0)
    }

    /// The next events, at least one: waits until there are some.
    ///
    /// # Errors
    /// The log cannot be read (ask again: no event is lost), positions are missing, or another log has taken the
    /// place of the one that was followed.
    pub async fn next(&mut self) -> Result<Vec<RecordedEvent>, ReadError> {
        loop {
            self.wake.borrow_and_update();
            let page = self.page().await?;
            if let Some(last) = page.last() {
                self.position = last.position;
                self.log.note(last.position);
                self.last = Some(last.id);
                return Ok(page);
            }
            let changed = self.wake.changed();
            // A closed channel only means that nobody wakes us any more: the poll goes on.
            let _ = tokio::time::timeout(POLL, changed).await;
        }
    }

    /// The next page, read in one statement with the log's identity and the event at our own position, so that no
    /// other log is taken for this one.
    async fn page(&self) -> Result<Vec<RecordedEvent>, ReadError> {
        let client = self.log.pool().get().await?;
        let sql = format!(
            "select h.log_id, h.epoch, (select own.event_id from log.event own where own.position = $1), e.*
             from log.head h
             left join lateral (select {} from log.event where position > $1 order by position limit $2) e on true
             order by e.position",
            RecordedEvent::COLUMNS
        );
        let statement = client.prepare_cached(&sql).await?;
        let rows = client.query(&statement, &[&self.position, &PAGE]).await?;
        let Some(first) = rows.first() else {
            return Err(ReadError::AnotherLog("the head row has gone".to_owned()));
        };
        self.same_log(first.try_get(0)?, first.try_get(1)?, first.try_get(2)?)?;
        let mut events = Vec::with_capacity(rows.len());
        for row in &rows {
            if row.try_get::<_, Option<i64>>(3)?.is_some() {
                events.push(RecordedEvent::from_row_after(row, 3)?);
            }
        }
        contiguous(self.position, &events)?;
        Ok(events)
    }

    /// Compares the log's identity, its epoch, and the event at our own position.
    fn same_log(&self, log_id: LogId, epoch: i64, at_position: Option<EventId>) -> Result<(), ReadError> {
        let known = self.log.identity();
        if (log_id, epoch) != (known.log_id, known.epoch) {
            return Err(ReadError::AnotherLog(format!(
                "log {} epoch {} has become log {log_id} epoch {epoch}",
                known.log_id, known.epoch
            )));
        }
        match (self.last, at_position) {
            (Some(last), Some(found)) if found != last => {
                Err(ReadError::AnotherLog(format!("position {} holds {found}, not {last}", self.position)))
            }
            (Some(_), None) => Err(ReadError::AnotherLog(format!("position {} has gone", self.position))),
            _ => Ok(()),
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
