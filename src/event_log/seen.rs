//! Tracks what this node has seen of the log, and decides whether a server may answer for it.
//!
//! The address of a database may lead to another server at any time: to a lagging standby, to a standby that was
//! promoted without its last events, to a restored backup. A server may answer only if it has every event that this
//! node has acknowledged or read. Each connection is checked when it is opened ([`SeenLog::check`]); each read is
//! checked by its own statement (`primary.rs`); each append compares the epoch under the head lock.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Row};

use super::checkpoint::Checkpoint;
use super::error::PrimaryError;
use super::plans::Plans;
use crate::entropy::Entropy;
use crate::ids::{EventId, LogId};

/// Identifies a server and the table with the head row: a restored or promoted database has another identity.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ServerIdentity {
    /// The system identifier of the cluster, set by initdb.
    pub system_identifier: i64,
    /// The WAL timeline, raised by each promotion and each point-in-time recovery.
    pub timeline: i64,
    /// The OID of the table `log.head`, which changes when `pg_restore` creates it again.
    pub head_oid: i64,
}

/// The newest event that this node has acknowledged or read, with its epoch and server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Seen {
    /// The epoch of the position.
    pub epoch: i64,
    /// The server that answered last.
    pub server: ServerIdentity,
    /// The newest position; 0 before the first event.
    pub position: i64,
    /// The event at that position; nil before the first.
    pub event_id: EventId,
}

/// The head row, the server that answers, and the newest event.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Head {
    /// The identity of the log.
    pub log_id: LogId,
    /// The epoch of the log's positions.
    pub epoch: i64,
    /// The fence: appends that name an earlier number are refused.
    pub fence: i64,
    /// The set of projections that schema `view` contains.
    pub projection_set: String,
    /// The server that the log was last served from; `None` if it never was.
    pub stored: Option<ServerIdentity>,
    /// The server that sent this answer.
    pub actual: ServerIdentity,
    /// The newest position; 0 in an empty log.
    pub position: i64,
    /// The event at that position; nil in an empty log.
    pub event_id: EventId,
}

/// A callback that clears memory of the log; called with the new epoch.
type OnNewEpoch = Box<dyn Fn(i64) + Send + Sync>;

/// What this node has seen of the log, shared by everything that reads or writes it.
pub struct SeenLog {
    log_id: LogId,
    seen: Mutex<Seen>,
    /// Epochs that this node has left: a server that still has one of them lags behind, and is not followed.
    left: Mutex<Vec<i64>>,
    /// Wakes followers; its value is the newest position seen.
    wake: Arc<watch::Sender<i64>>,
    /// Lets one connection at a time decide about an epoch, so that this node enters it once.
    deciding: tokio::sync::Mutex<()>,
    entropy: Arc<dyn Entropy>,
    on_new_epoch: Mutex<Vec<OnNewEpoch>>,
    plans: Arc<Plans>,
}

/// The name of the WAL file of the server that answers, which must not be in recovery. Its [`timeline`] tells a server that was promoted
/// from the one that a connection was opened to, also where a proxy has led the connection elsewhere.
pub(super) const WAL_FILE: &str = "pg_walfile_name(pg_current_wal_insert_lsn())";

/// How many characters that name has.
pub(super) const WAL_FILE_LENGTH: usize = 24;

/// The timeline of a WAL file: its name begins with it, in eight hexadecimal digits.
pub(super) fn timeline(wal_file: &str) -> Option<i64> {
    i64::from_str_radix(wal_file.get(..8)?, 16).ok()
}

/// Selects the head row, the server's identity, the newest event and the event at position `$1`; no row without a log.
const HEAD: &str = "
    select h.log_id, h.epoch, h.fence, h.projection_set, h.system_identifier, h.timeline, h.head_oid,
           i.system_identifier, i.timeline, i.head_oid, n.position, n.event_id,
           (select own.event_id from log.event own where own.position = $1)
    from log.head h
    cross join log.server_identity() i
    left join lateral (select position, event_id from log.event order by position desc limit 1) n on true";

impl Head {
    /// Reads the head of the log, and the event at a position if there is one.
    async fn read(client: &Client, position: i64) -> Result<(Self, Option<EventId>), PrimaryError> {
        let rows = client.query_typed(HEAD, &[(&position, Type::INT8)]).await.map_err(without_log)?;
        let row = rows.first().ok_or(PrimaryError::NoLog)?;
        Ok((Self::of(row)?, row.try_get(12)?))
    }

    fn of(row: &Row) -> Result<Self, tokio_postgres::Error> {
        let stored = match (row.try_get(4)?, row.try_get(5)?, row.try_get(6)?) {
            (Some(system_identifier), Some(timeline), Some(head_oid)) => {
                Some(ServerIdentity { system_identifier, timeline, head_oid })
            }
            _ => None,
        };
        Ok(Self {
            log_id: row.try_get(0)?,
            epoch: row.try_get(1)?,
            fence: row.try_get(2)?,
            projection_set: row.try_get(3)?,
            stored,
            actual: ServerIdentity {
                system_identifier: row.try_get(7)?,
                timeline: row.try_get(8)?,
                head_oid: row.try_get(9)?,
            },
            position: row.try_get::<_, Option<i64>>(10)?.unwrap_or(0),
            event_id: row.try_get::<_, Option<EventId>>(11)?.unwrap_or(EventId::NIL),
        })
    }

    /// Whether the server that answers is the one that the log was last served from.
    fn is_on_same_server(&self) -> bool {
        self.stored == Some(self.actual)
    }

    const fn seen(&self) -> Seen {
        Seen { epoch: self.epoch, server: self.actual, position: self.position, event_id: self.event_id }
    }
}

/// A database without the schema holds no log.
fn without_log(error: tokio_postgres::Error) -> PrimaryError {
    match error.code() {
        Some(&(SqlState::UNDEFINED_TABLE | SqlState::UNDEFINED_FUNCTION | SqlState::INVALID_SCHEMA_NAME)) => {
            PrimaryError::NoLog
        }
        _ => error.into(),
    }
}

/// A random epoch: 63 bits, never 0. Random, because two restores of the same backup must not get the same epoch.
#[must_use]
pub fn new_epoch(entropy: &dyn Entropy) -> i64 {
    let mut bytes = [0; 8];
    entropy.fill(&mut bytes);
    // 0 stands for "no epoch" in memory.
    (i64::from_be_bytes(bytes) & i64::MAX).max(1)
}

/// Prepares the log for a process that has just started: if another server served the log last, the log gets a new
/// epoch, because it cannot be known whether that server had events that this one lacks.
///
/// # Errors
/// [`PrimaryError::NoLog`], or the head row cannot be read or written.
pub async fn adopt_server(client: &mut Client, entropy: &dyn Entropy) -> Result<Head, PrimaryError> {
    let (head, _) = Head::read(client, 0).await?;
    if head.is_on_same_server() {
        return Ok(head);
    }
    let renewed = renew(client, |head| !head.is_on_same_server(), entropy).await?;
    // An empty log has given out no positions that could be refused.
    if head.position > 0 {
        tracing::warn!(
            epoch = renewed.epoch,
            "the log is served from a different server: positions of its earlier epoch are refused"
        );
    }
    Ok(renewed)
}

/// Gives the log a new epoch if `asks_for_it` holds for the locked head row; returns the resulting head.
///
/// # Errors
/// [`PrimaryError::NoLog`], or the head row cannot be read or written.
pub async fn renew(
    client: &mut Client,
    asks_for_it: impl Fn(&Head) -> bool,
    entropy: &dyn Entropy,
) -> Result<Head, PrimaryError> {
    let transaction = client.transaction().await?;
    // Read again under the lock: another node may have given the log a new epoch already.
    transaction.execute("select from log.head for update", &[]).await.map_err(without_log)?;
    let rows = transaction.query_typed(HEAD, &[(&0_i64, Type::INT8)]).await?;
    let mut head = Head::of(rows.first().ok_or(PrimaryError::NoLog)?)?;
    if asks_for_it(&head) {
        head.epoch = new_epoch(entropy);
        store(&transaction, &head).await?;
        head.stored = Some(head.actual);
    }
    transaction.commit().await?;
    Ok(head)
}

async fn store(
    transaction: &tokio_postgres::Transaction<'_>,
    head: &Head,
) -> Result<(), tokio_postgres::Error> {
    let ServerIdentity { system_identifier, timeline, head_oid } = head.actual;
    let sql = "update log.head set epoch = $1, system_identifier = $2, timeline = $3, head_oid = $4";
    transaction.execute(sql, &[&head.epoch, &system_identifier, &timeline, &head_oid]).await?;
    // Connected nodes notice the new epoch at their next read; the notification makes their followers read at once.
    transaction.execute("select pg_notify('tenure_log', '')", &[]).await?;
    Ok(())
}

impl SeenLog {
    /// Starts from the head of the log, as a newly started process finds it.
    #[must_use]
    pub fn new(head: &Head, entropy: Arc<dyn Entropy>) -> Self {
        Self {
            log_id: head.log_id,
            seen: Mutex::new(head.seen()),
            left: Mutex::default(),
            wake: Arc::new(watch::Sender::new(head.position)),
            deciding: tokio::sync::Mutex::default(),
            entropy,
            on_new_epoch: Mutex::default(),
            plans: Arc::default(),
        }
    }

    /// The identity of the log.
    #[must_use]
    pub const fn log_id(&self) -> LogId {
        self.log_id
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What this node has seen so far.
    #[must_use]
    pub fn get(&self) -> Seen {
        *self.lock()
    }

    /// The newest place that this node has seen.
    #[must_use]
    pub fn checkpoint(&self) -> Checkpoint {
        let Seen { epoch, position, event_id, .. } = self.get();
        Checkpoint { log_id: self.log_id, epoch, position, event_id }
    }

    /// Signals every commit of this node, and those of other nodes when they are noticed.
    pub(super) const fn wake(&self) -> &Arc<watch::Sender<i64>> {
        &self.wake
    }

    /// The plans of the connections of this node.
    #[must_use]
    pub const fn plans(&self) -> &Arc<Plans> {
        &self.plans
    }

    /// Registers a callback that clears memory of the log; it is called with each new epoch.
    pub fn on_new_epoch(&self, clear: impl Fn(i64) + Send + Sync + 'static) {
        self.on_new_epoch.lock().unwrap_or_else(PoisonError::into_inner).push(Box::new(clear));
    }

    /// Records an event that was read or stored on a server: every later answer must include it. Does not wake followers. `false` if this
    /// node has left that server, whose answer then counts for nothing.
    #[must_use]
    pub(super) fn advance(
        &self,
        server: ServerIdentity,
        epoch: i64,
        position: i64,
        event_id: EventId,
    ) -> bool {
        let is_newer = {
            let mut seen = self.lock();
            if seen.server != server {
                return false;
            }
            let is_newer = seen.epoch == epoch && seen.position < position;
            if is_newer {
                (seen.position, seen.event_id) = (position, event_id);
            }
            is_newer
        };
        if is_newer {
            // Returns false so as not to wake followers: the committer answers its callers first.
            self.wake.send_if_modified(|known| {
                *known = (*known).max(position);
                false
            });
        }
        true
    }

    /// Wakes the followers of this node.
    pub(super) fn wake_followers(&self) {
        self.wake.send_modify(|_| {});
    }

    /// Checks whether the server behind a new connection may answer: it must have this log and the newest event that
    /// this node has seen.
    ///
    /// If a server with another identity lacks that event, the log gets a new epoch and this node starts over in it. If
    /// another node or an operator has given the log a new epoch, this node follows.
    ///
    /// # Errors
    /// [`PrimaryError::AnotherLog`], [`PrimaryError::LostEvents`], [`PrimaryError::NoLog`], or the server does not
    /// answer.
    pub async fn check(&self, client: &mut Client) -> Result<Head, PrimaryError> {
        let seen = self.get();
        let (head, found) = Head::read(client, seen.position).await?;
        // The usual case takes no lock.
        if self.is_consistent(&head, &seen, found)? {
            return Ok(head);
        }
        let _deciding = self.deciding.lock().await;
        loop {
            if let Some(head) = self.decide(client).await? {
                return Ok(head);
            }
        }
    }

    /// Decides about the server behind a connection. `None` if this node has seen more on its last server meanwhile.
    async fn decide(&self, client: &mut Client) -> Result<Option<Head>, PrimaryError> {
        // Another connection of this node may have decided in the meantime.
        let seen = self.get();
        let transaction = client.transaction().await?;
        // Under the lock, so that no other node decides at the same time and no append falls in between.
        transaction.execute("select from log.head for update", &[]).await?;
        let rows = transaction.query_typed(HEAD, &[(&seen.position, Type::INT8)]).await?;
        let row = rows.first().ok_or(PrimaryError::NoLog)?;
        let (mut head, found) = (Head::of(row)?, row.try_get::<_, Option<EventId>>(12)?);
        if self.is_consistent(&head, &seen, found)? {
            transaction.commit().await?;
            return Ok(Some(head));
        }
        // By the event, not by its position alone: a server that lost events may have grown past that position since.
        let has_all = head.epoch == seen.epoch && (seen.position == 0 || found == Some(seen.event_id));
        let was_left = self.left.lock().unwrap_or_else(PoisonError::into_inner).contains(&head.epoch);
        // Another process has decided already. A server that still has an epoch which this node has left is only
        // behind.
        let is_followed = head.epoch != seen.epoch && head.is_on_same_server() && !was_left;
        if !has_all && !is_followed {
            head.epoch = new_epoch(&*self.entropy);
        }
        if !head.is_on_same_server() || (!has_all && !is_followed) {
            store(&transaction, &head).await?;
        }
        head.stored = Some(head.actual);
        transaction.commit().await?;
        if head.epoch == seen.epoch {
            // A failover that lost nothing: only the server has changed, and positions keep their meaning.
            if !self.move_to(head.actual, &seen) {
                return Ok(None);
            }
        } else {
            self.begin_epoch(&head, &seen);
        }
        Ok(Some(head))
    }

    /// Notes that another server answers from now on. `false` if more than this was seen on the one before.
    fn move_to(&self, server: ServerIdentity, checked: &Seen) -> bool {
        let mut seen = self.lock();
        let is_same = *seen == *checked;
        if is_same {
            seen.server = server;
        }
        is_same
    }

    /// Whether the server may answer as it is, so that no epoch or identity has to be decided.
    fn is_consistent(&self, head: &Head, seen: &Seen, found: Option<EventId>) -> Result<bool, PrimaryError> {
        if head.log_id != self.log_id {
            return Err(PrimaryError::AnotherLog { expected: self.log_id, found: head.log_id });
        }
        if head.epoch != seen.epoch {
            return Ok(false);
        }
        let has_all = seen.position == 0 || found == Some(seen.event_id);
        // The same server has lost events: no failover explains that, so an operator has to decide.
        if !has_all && head.actual == seen.server {
            return Err(PrimaryError::LostEvents { position: seen.position, event_id: seen.event_id });
        }
        Ok(has_all && head.is_on_same_server() && head.actual == seen.server)
    }

    /// Forgets all earlier positions and continues from the newest event of this server.
    fn begin_epoch(&self, head: &Head, before: &Seen) {
        tracing::warn!(
            before = %format_args!("{}-{}", before.epoch, before.position),
            now = %format_args!("{}-{}", head.epoch, head.position),
            "positions have a new epoch: this node has cleared its memory of the log"
        );
        metrics::counter!("tenure_epoch_changes_total").increment(1);
        // Before the new epoch becomes visible: decisions in it must not rest on remembered state of the old one.
        for clear in self.on_new_epoch.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            clear(head.epoch);
        }
        self.left.lock().unwrap_or_else(PoisonError::into_inner).push(before.epoch);
        *self.lock() = head.seen();
        self.wake.send_modify(|position| *position = head.position);
    }
}
