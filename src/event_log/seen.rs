//! What this node has seen of the log, and whether a server may answer for it.
//!
//! The address of a database may lead elsewhere at any time: to a standby that lags, to one that was promoted without
//! its last events, to a restored backup. Whatever this node has acknowledged or read must be there, or the server does
//! not answer. Each connection is checked when it is opened ([`SeenLog::check`]); each read is checked by its own
//! statement (`primary.rs`); each append compares the epoch under the head lock.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Row};

use super::checkpoint::Checkpoint;
use super::error::PrimaryError;
use crate::entropy::Entropy;
use crate::ids::{EventId, LogId};

/// A server and the very table that holds the head row: a restored, promoted or copied database has another identity.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ServerIdentity {
    /// Of the cluster, made by initdb.
    pub system_identifier: i64,
    /// Raised by each promotion and each point-in-time recovery.
    pub timeline: i64,
    /// The OID of `log.head`, which `pg_restore` makes anew.
    pub head_oid: i64,
}

/// The newest event that this node has acknowledged or read, in which epoch, from which server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Seen {
    /// The epoch of the position.
    pub epoch: i64,
    /// The server that answered last.
    pub server: ServerIdentity,
    /// The position; 0 before the first event.
    pub position: i64,
    /// The event there; nil before the first.
    pub event_id: EventId,
}

/// What the head row says, and where the log ends.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Head {
    /// Which log this is.
    pub log_id: LogId,
    /// The epoch of its positions.
    pub epoch: i64,
    /// Raised to make everything sent before worthless.
    pub fence: i64,
    /// Which set of projections `view` holds.
    pub projection_set: String,
    /// The server that the log was last served from; none before the first.
    pub stored: Option<ServerIdentity>,
    /// The server that answers.
    pub actual: ServerIdentity,
    /// The newest position; 0 in an empty log.
    pub position: i64,
    /// The event there; nil in an empty log.
    pub event_id: EventId,
}

/// Called with the new epoch when the positions that this node remembers have lost their meaning.
type OnNewEpoch = Box<dyn Fn(i64) + Send + Sync>;

/// What this node has seen, shared by everything that reads or writes the log.
pub struct SeenLog {
    log_id: LogId,
    seen: Mutex<Seen>,
    /// Epochs that this node has left: whichever server still has one of them is behind.
    left: Mutex<Vec<i64>>,
    /// Wakes followers; its value is the position that was seen.
    wake: Arc<watch::Sender<i64>>,
    /// One connection at a time decides about an epoch.
    deciding: tokio::sync::Mutex<()>,
    entropy: Arc<dyn Entropy>,
    on_new_epoch: Mutex<Vec<OnNewEpoch>>,
}

/// The head row, the identity of the server, the end of the log, and the event at position `$1`; no row if there is no
/// log.
const HEAD: &str = "
    select h.log_id, h.epoch, h.fence, h.projection_set, h.system_identifier, h.timeline, h.head_oid,
           i.system_identifier, i.timeline, i.head_oid, n.position, n.event_id,
           (select own.event_id from log.event own where own.position = $1)
    from log.head h
    cross join log.server_identity() i
    left join lateral (select position, event_id from log.event order by position desc limit 1) n on true";

impl Head {
    /// Reads the head of a log, with the event at a position.
    async fn read(client: &Client, position: i64) -> Result<(Self, Option<EventId>), PrimaryError> {
        let rows = client.query_typed(HEAD, &[(&position, Type::INT8)]).await.map_err(PrimaryError::from)?;
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

    /// The server that answers now is the one that the log was last served from.
    fn is_on_same_server(&self) -> bool {
        self.stored == Some(self.actual)
    }

    const fn seen(&self) -> Seen {
        Seen { epoch: self.epoch, server: self.actual, position: self.position, event_id: self.event_id }
    }
}

/// A random epoch: 63 bits, never 0.
#[must_use]
pub fn new_epoch(entropy: &dyn Entropy) -> i64 {
    let mut bytes = [0; 8];
    entropy.fill(&mut bytes);
    (i64::from_be_bytes(bytes) & i64::MAX).max(1)
}

/// What a process without memory does before it serves a log: a log that was served from another server last gets a new
/// epoch, because nobody can say whether that server had events which this one has not.
///
/// # Errors
/// There is no log, or it cannot be written to.
pub async fn adopt_server(client: &mut Client, entropy: &dyn Entropy) -> Result<Head, PrimaryError> {
    let (head, _) = Head::read(client, 0).await?;
    if head.is_on_same_server() {
        return Ok(head);
    }
    let renewed = renew(client, |head| !head.is_on_same_server(), entropy).await?;
    if head.position > 0 {
        tracing::warn!(
            epoch = renewed.epoch,
            "the log is served from another server than before: positions from before are refused"
        );
    }
    Ok(renewed)
}

/// Gives the log a new epoch, if the head row, locked, still asks for it.
///
/// # Errors
/// There is no log, or it cannot be written to.
pub async fn renew(
    client: &mut Client,
    asks_for_it: impl Fn(&Head) -> bool,
    entropy: &dyn Entropy,
) -> Result<Head, PrimaryError> {
    let transaction = client.transaction().await?;
    transaction.execute("select from log.head for update", &[]).await?;
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
    // Nodes that are connected already find out by their next read; this makes it soon.
    transaction.execute("select pg_notify('tenure_log', '')", &[]).await?;
    Ok(())
}

impl SeenLog {
    /// Begins with the head of a log, as a process without memory finds it.
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
        }
    }

    /// Which log this is.
    #[must_use]
    pub const fn log_id(&self) -> LogId {
        self.log_id
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What has been seen up to now.
    #[must_use]
    pub fn get(&self) -> Seen {
        *self.lock()
    }

    /// The newest place that has been seen.
    #[must_use]
    pub fn checkpoint(&self) -> Checkpoint {
        let Seen { epoch, position, event_id, .. } = self.get();
        Checkpoint { log_id: self.log_id, epoch, position, event_id }
    }

    /// Changes with every commit of this node, and of others when they are noticed.
    pub(super) const fn wake(&self) -> &Arc<watch::Sender<i64>> {
        &self.wake
    }

    /// Calls this with the new epoch when memory of the log has to be cleared.
    pub fn on_new_epoch(&self, clear: impl Fn(i64) + Send + Sync + 'static) {
        self.on_new_epoch.lock().unwrap_or_else(PoisonError::into_inner).push(Box::new(clear));
    }

    /// Takes note of an event that was read or stored: whatever is read from now on has to show it. Wakes nobody.
    pub(super) fn advance(&self, epoch: i64, position: i64, event_id: EventId) {
        let is_newer = {
            let mut seen = self.lock();
            let is_newer = seen.epoch == epoch && seen.position < position;
            if is_newer {
                (seen.position, seen.event_id) = (position, event_id);
            }
            is_newer
        };
        if is_newer {
            self.wake.send_if_modified(|known| {
                *known = (*known).max(position);
                false
            });
        }
    }

    /// Wakes the followers on this node.
    pub(super) fn wake_followers(&self) {
        self.wake.send_modify(|_| {});
    }

    /// Whether the server behind a fresh connection may answer: it holds this log, with the newest event that this node
    /// has seen.
    ///
    /// On a server with another identity that lacks this event, the log gets a new epoch and this node begins anew; if
    /// somebody else has given it one, this node follows.
    ///
    /// # Errors
    /// [`PrimaryError::AnotherLog`], [`PrimaryError::LostEvents`], or the server cannot be asked.
    pub async fn check(&self, client: &mut Client) -> Result<Head, PrimaryError> {
        let seen = self.get();
        let (head, found) = Head::read(client, seen.position).await?;
        if self.is_consistent(&head, &seen, found)? {
            return Ok(head);
        }
        let _deciding = self.deciding.lock().await;
        // Another connection of this node may have decided meanwhile.
        let seen = self.get();
        let transaction = client.transaction().await?;
        transaction.execute("select from log.head for update", &[]).await?;
        let rows = transaction.query_typed(HEAD, &[(&seen.position, Type::INT8)]).await?;
        let row = rows.first().ok_or(PrimaryError::NoLog)?;
        let (mut head, found) = (Head::of(row)?, row.try_get::<_, Option<EventId>>(12)?);
        if self.is_consistent(&head, &seen, found)? {
            transaction.commit().await?;
            return Ok(head);
        }
        let has_all = head.epoch == seen.epoch && (seen.position == 0 || found == Some(seen.event_id));
        let was_left = self.left.lock().unwrap_or_else(PoisonError::into_inner).contains(&head.epoch);
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
            self.lock().server = head.actual;
        } else {
            self.begin_epoch(&head, &seen);
        }
        Ok(head)
    }

    /// Whether nothing has to be decided about a server.
    fn is_consistent(&self, head: &Head, seen: &Seen, found: Option<EventId>) -> Result<bool, PrimaryError> {
        if head.log_id != self.log_id {
            return Err(PrimaryError::AnotherLog { expected: self.log_id, found: head.log_id });
        }
        if head.epoch != seen.epoch {
            return Ok(false);
        }
        let has_all = seen.position == 0 || found == Some(seen.event_id);
        if !has_all && head.actual == seen.server {
            return Err(PrimaryError::LostEvents { position: seen.position, event_id: seen.event_id });
        }
        Ok(has_all && head.is_on_same_server() && head.actual == seen.server)
    }

    /// Forgets all positions, and goes on from where this server's log ends.
    fn begin_epoch(&self, head: &Head, before: &Seen) {
        tracing::warn!(
            before = %format_args!("{}-{}", before.epoch, before.position),
            now = %format_args!("{}-{}", head.epoch, head.position),
            "positions have a new epoch: what this node remembers of the log is cleared"
        );
        metrics::counter!("tenure_epoch_changes_total").increment(1);
        // Before the epoch can be seen: what is decided in it must not rest on what was remembered before.
        for clear in self.on_new_epoch.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            clear(head.epoch);
        }
        self.left.lock().unwrap_or_else(PoisonError::into_inner).push(before.epoch);
        *self.lock() = head.seen();
        self.wake.send_modify(|position| *position = head.position);
    }
}
