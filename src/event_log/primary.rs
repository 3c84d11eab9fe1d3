//! Queries of the database that only the primary may answer.
//!
//! Each query checks in its own statement whether the server may answer: it must be neither in recovery nor read-only,
//! and must have everything that this node has acknowledged or read, in the same epoch. A check before the query would
//! not do, because the address may lead to another server at any time. An answer that fails the check is discarded with
//! its connection, and the query is sent again on another.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;

use deadpool::managed::{self, Metrics, PoolError, QueueMode, RecycleError, RecycleResult};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Row, Statement};
use uuid::Uuid;

use super::checkpoint::Checkpoint;
use super::error::{PrimaryError, ReadError};
use super::plans::{ConnectionPlans, DISCARD};
use super::seen::{Seen, SeenLog, ServerIdentity, WAL_FILE, WAL_FILE_LENGTH, timeline};
use crate::clock::Stopwatch;
use crate::ids::{EventId, LogId};
use crate::postgres::{CONNECT_TIMEOUT, Connection, Database};

/// How long a query may take, including the wait for a connection and connecting.
pub const READ_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a connection may be idle before it is pinged when it is taken from the pool.
const IDLE_LIMIT: Duration = Duration::from_secs(5);

/// How long a ping may take before the connection counts as lost.
const PING_TIMEOUT: Duration = Duration::from_secs(1);

/// Settings of the connections. A query is planned with its index, and planned again only once tables have grown (`growth.rs`).
/// The server's timeout is slightly shorter than [`READ_TIMEOUT`],
/// so that a slow server reports it itself.
const SETTINGS: &str = "
    set plan_cache_mode = force_generic_plan; set enable_seqscan = off;
    set statement_timeout = '4500ms'; set lock_timeout = '4s'; set idle_in_transaction_session_timeout = '5s';";

/// Wraps a query to add two columns after its own: whether there is a row at all, and the state of the log as the bytes
/// that [`Guard::decode`] reads, null if the server is in recovery or read-only.
///
/// With `offset 0` the bytes are computed once instead of once per row; a follower's page has a thousand rows.
static GUARDED: LazyLock<String> = LazyLock::new(|| {
    format!(
        "
    select q.*, g.state
    from (select case when not pg_is_in_recovery() and current_setting('transaction_read_only') = 'off'
                      then (select int8send(epoch) || textsend({WAL_FILE}) from log.head)
                           || coalesce((select int8send(position) || uuid_send(event_id)
                                        from log.event order by position desc limit 1), '')
                      end as state
          offset 0) g
    left join lateral (select x.*, true as is_present from ("
    )
});

/// Maximum number of prepared statements per connection; there are fewer distinct queries than that.
const MAX_STATEMENTS: usize = 512;

/// How many columns [`GUARDED`] adds.
const GUARD_COLUMNS: usize = 2;

/// A pooled connection with its prepared statements.
pub struct Session {
    connection: Connection,
    /// The server behind the connection; differs from the node's present server if the node has moved on since.
    server: ServerIdentity,
    statements: Mutex<HashMap<GuardedQuery, Statement>>,
    plans: ConnectionPlans,
}

/// Opens and pings the connections of the pool.
struct Opener {
    database: Database,
    /// The `application_name` of the connections.
    name: &'static str,
    seen: Arc<SeenLog>,
    /// When an idle connection was last found to be lost; connections that were idle at that time are not pinged.
    found_lost: Mutex<Option<Stopwatch>>,
}

impl managed::Manager for Opener {
    type Type = Session;
    type Error = PrimaryError;

    async fn create(&self) -> Result<Session, PrimaryError> {
        let mut connection = self.database.connect_within(CONNECT_TIMEOUT, self.name, SETTINGS).await?;
        let server = self.seen.check(&mut connection.client).await?.actual;
        let plans = ConnectionPlans::of_new_connection(self.seen.plans());
        Ok(Session { connection, server, statements: Mutex::default(), plans })
    }

    async fn recycle(&self, session: &mut Session, metrics: &Metrics) -> RecycleResult<PrimaryError> {
        let client = &session.connection.client;
        if client.is_closed() {
            return Err(RecycleError::message("the connection is closed"));
        }
        // Firewalls and load balancers drop idle connections without notice. They drop all of them at once, so one lost
        // connection condemns the others that were idle then: pinging each would cost a timeout each.
        let idle = metrics.last_used();
        let outdated = session.plans.outdated();
        if idle <= IDLE_LIMIT && outdated.is_none() {
            return Ok(());
        }
        let lost = || RecycleError::message("the connection was lost while idle");
        let found_lost = || self.found_lost.lock().unwrap_or_else(PoisonError::into_inner);
        if found_lost().as_ref().is_some_and(|since| since.elapsed() < idle) {
            return Err(lost());
        }
        let ping = if outdated.is_some() { DISCARD } else { "" };
        if !timeout(PING_TIMEOUT, client.batch_execute(ping)).await.is_ok_and(|pong| pong.is_ok()) {
            *found_lost() = Some(Stopwatch::start());
            return Err(lost());
        }
        if let Some(generation) = outdated {
            session.plans.discarded(generation);
        }
        Ok(())
    }
}

/// A query in SQL. Data changes are in a `with` clause, which PostgreSQL accepts only at the top level.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct GuardedQuery {
    with: String,
    select: String,
}

impl GuardedQuery {
    fn guarded(&self) -> String {
        let Self { with, select } = self;
        let with = if with.is_empty() { String::new() } else { format!("with {with} ") };
        format!("{with}{}{select}) x) q on true", *GUARDED)
    }
}

/// The state of the log that comes with an answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Guard {
    epoch: i64,
    timeline: i64,
    position: i64,
    event_id: EventId,
}

impl Guard {
    /// Decodes the epoch (8 bytes, big-endian), the name of the server's WAL file and, unless the log is empty, the newest position
    /// (8 bytes, big-endian) and the 16 bytes of the event identifier.
    fn decode(state: &[u8]) -> Option<Self> {
        let (epoch, rest) = state.split_first_chunk()?;
        let (wal_file, newest) = rest.split_first_chunk::<WAL_FILE_LENGTH>()?;
        let (position, event_id) = match newest.split_first_chunk() {
            Some((position, event_id)) => (i64::from_be_bytes(*position), event_id.try_into().ok()?),
            None => (0, [0; 16]),
        };
        let event_id = EventId::from_uuid(Uuid::from_bytes(event_id));
        let timeline = timeline(std::str::from_utf8(wal_file).ok()?)?;
        Some(Self { epoch: i64::from_be_bytes(*epoch), timeline, position, event_id })
    }
}

/// The rows of an answer, and the state of the log in their snapshot.
pub struct GuardedRows {
    /// The rows, each with [`GUARD_COLUMNS`] additional columns after its own.
    pub rows: Vec<Row>,
    /// The epoch of the log.
    pub epoch: i64,
    /// The newest position in the snapshot of the rows; 0 in an empty log.
    pub position: i64,
    /// The event at that position; nil in an empty log.
    pub event_id: EventId,
}

impl GuardedRows {
    /// The newest place in the snapshot of the rows.
    #[must_use]
    pub const fn checkpoint(&self, log_id: LogId) -> Checkpoint {
        Checkpoint { log_id, epoch: self.epoch, position: self.position, event_id: self.event_id }
    }
}

/// Why an answer was rejected.
enum Rejected {
    /// The server may not answer. Nothing was changed, or only data outside the log: the query is sent to another.
    Server,
    /// The connection is unusable, and it is not known whether the statement was executed.
    Connection(PrimaryError),
    /// The statement was rejected; the connection is fine.
    Statement(PrimaryError),
}

/// Queries the primary; clones share the connection pool.
#[derive(Clone)]
pub struct Primary {
    pool: managed::Pool<Opener>,
    seen: Arc<SeenLog>,
}

impl Primary {
    /// Creates a pool of at most `connections` connections of this name to this database; opens none yet.
    ///
    /// # Errors
    /// [`ReadError::Unavailable`] if the pool cannot be created.
    pub fn new(
        database: Database,
        name: &'static str,
        seen: Arc<SeenLog>,
        connections: usize,
    ) -> Result<Self, ReadError> {
        let opener = Opener { database, name, seen: seen.clone(), found_lost: Mutex::default() };
        let pool = managed::Pool::builder(opener).max_size(connections).queue_mode(QueueMode::Lifo).build();
        let pool = pool.map_err(|error| ReadError::Unavailable(Box::new(error)))?;
        Ok(Self { pool, seen })
    }

    /// Runs a query and returns its rows with the state of the log.
    ///
    /// # Errors
    /// [`ReadError::Unavailable`]
    pub async fn query(
        &self,
        select: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<GuardedRows, ReadError> {
        self.ask("", select, parameters).await
    }

    /// Runs a query and returns its rows.
    ///
    /// # Errors
    /// [`ReadError::Unavailable`]
    pub async fn rows(
        &self,
        select: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, ReadError> {
        Ok(self.query(select, parameters).await?.rows)
    }

    /// Runs a query and returns its first row, if there is one.
    ///
    /// # Errors
    /// [`ReadError::Unavailable`]
    pub async fn row(
        &self,
        select: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Option<Row>, ReadError> {
        Ok(self.rows(select, parameters).await?.into_iter().next())
    }

    /// Changes rows outside the log and returns how many.
    ///
    /// # Errors
    /// [`ReadError::Unavailable`]; if the connection was lost, the rows may have been changed nevertheless.
    pub async fn execute(&self, change: &str, parameters: &[&(dyn ToSql + Sync)]) -> Result<u64, ReadError> {
        let with = format!("changed as ({change} returning true)");
        let answer = self.ask(&with, "select count(*) from changed", parameters).await?;
        let count: i64 = answer.rows.first().map_or(Ok(0), |row| row.try_get(0))?;
        Ok(count.unsigned_abs())
    }

    /// Runs a query whose `with` clause may change rows outside the log.
    ///
    /// # Errors
    /// See [`Primary::execute`].
    pub async fn ask(
        &self,
        with: &str,
        select: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<GuardedRows, ReadError> {
        self.boxed(with, select, parameters, with.is_empty()).await
    }

    /// Calls a function that changes rows outside the log; it is not repeated if the connection is lost.
    ///
    /// # Errors
    /// See [`Primary::execute`].
    pub async fn call(
        &self,
        select: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Option<Row>, ReadError> {
        Ok(self.boxed("", select, parameters, false).await?.rows.into_iter().next())
    }

    /// Closes the idle connections: they lead to the same address as the connection that reached a wrong server. New
    /// ones are checked when they are opened.
    pub(super) fn discard_connection(&self) {
        self.pool.retain(|_, _| false);
    }

    async fn boxed(
        &self,
        with: &str,
        select: &str,
        parameters: &[&(dyn ToSql + Sync)],
        is_question: bool,
    ) -> Result<GuardedRows, ReadError> {
        // Every operation and route awaits this; boxed, it does not enlarge each of their futures.
        Box::pin(self.ask_until_accepted(with, select, parameters, is_question)).await
    }

    async fn ask_until_accepted(
        &self,
        with: &str,
        select: &str,
        parameters: &[&(dyn ToSql + Sync)],
        is_question: bool,
    ) -> Result<GuardedRows, ReadError> {
        let question = GuardedQuery { with: with.to_owned(), select: select.to_owned() };
        let deadline = Instant::now() + READ_TIMEOUT;
        let mut is_repeated = false;
        // Every pooled connection may lead to a wrong server once; after that all connections are new.
        for _ in 0..=self.pool.status().max_size {
            // Before the query: the answer must show this, but not what other tasks see in the meantime.
            let seen = self.seen.get();
            let session = match timeout_at(deadline, self.pool.get()).await {
                Ok(Ok(session)) => CheckedOut(Some(session)),
                Ok(Err(PoolError::Backend(error))) => return Err(error.into()),
                Ok(Err(error)) => return Err(ReadError::Unavailable(Box::new(error))),
                Err(_) => return Err(PrimaryError::TimedOut(READ_TIMEOUT).into()),
            };
            // The node has moved to another server since this connection was checked.
            let is_left_behind = session.server() != Some(seen.server);
            let rejected = if is_left_behind {
                Rejected::Server
            } else {
                match timeout_at(deadline, session.ask(&question, parameters)).await {
                    Ok(Ok(rows)) => match self.accept(rows, &seen)? {
                        Some(answer) => {
                            session.give_back();
                            return Ok(answer);
                        }
                        None => Rejected::Server,
                    },
                    Ok(Err(rejected)) => rejected,
                    Err(_) => Rejected::Connection(PrimaryError::TimedOut(READ_TIMEOUT)),
                }
            };
            if let Rejected::Statement(error) = rejected {
                session.give_back();
                return Err(error.into());
            }
            session.discard();
            self.discard_connection();
            match rejected {
                // A query changes nothing, so it may be repeated; once only, or a missing table would be queried for
                // ever.
                Rejected::Connection(PrimaryError::Statement(error)) if is_question && !is_repeated => {
                    is_repeated = true;
                    tracing::debug!(%error, "a query is repeated on another connection");
                }
                Rejected::Connection(error) => return Err(error.into()),
                _ => tracing::warn!(
                    "the server is not the primary or lacks events of the log; trying another connection"
                ),
            }
        }
        Err(PrimaryError::Stale.into())
    }

    /// The answer, if the server may give it; otherwise `None`.
    fn accept(&self, mut rows: Vec<Row>, seen: &Seen) -> Result<Option<GuardedRows>, tokio_postgres::Error> {
        let Some(first) = rows.first() else {
            return Ok(None);
        };
        let guard = first.len() - GUARD_COLUMNS;
        let state: Option<&[u8]> = first.try_get(guard + 1)?;
        let Some(Guard { epoch, timeline, position, event_id }) = state.and_then(Guard::decode) else {
            return Ok(None);
        };
        // A server that lost events may have stored others at the same position since.
        let is_another = position == seen.position && event_id != seen.event_id;
        if timeline != seen.server.timeline || epoch != seen.epoch || position < seen.position || is_another {
            return Ok(None);
        }
        // What a caller has read must show in every later answer, so that reads never go back in time. Not what a server says that this
        // node has left meanwhile: its successor may lack it.
        if !self.seen.advance(seen.server, epoch, position, event_id) {
            return Ok(None);
        }
        // The left join returns one row of nulls if the query itself has none.
        if first.try_get::<_, Option<bool>>(guard)?.is_none() {
            rows.clear();
        }
        Ok(Some(GuardedRows { rows, epoch, position, event_id }))
    }
}

/// A connection taken from the pool. It is returned only after its answer has arrived, so that the next caller does not
/// wait behind the statement of a caller that has gone.
struct CheckedOut(Option<managed::Object<Opener>>);

impl CheckedOut {
    fn server(&self) -> Option<ServerIdentity> {
        self.0.as_ref().map(|session| session.server)
    }

    async fn ask(
        &self,
        question: &GuardedQuery,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, Rejected> {
        match &self.0 {
            Some(session) => session.ask(question, parameters).await,
            None => Err(Rejected::Server),
        }
    }

    fn give_back(mut self) {
        drop(self.0.take());
    }

    fn discard(mut self) {
        if let Some(session) = self.0.take() {
            drop(managed::Object::take(session));
        }
    }
}

impl Drop for CheckedOut {
    fn drop(&mut self) {
        // The caller has gone. The connection keeps its place in the pool until the server has finished the statement,
        // so that cancelled callers cannot open more connections than the pool allows.
        let Some(session) = self.0.take() else { return };
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                let idle = timeout(READ_TIMEOUT, session.connection.client.batch_execute("")).await;
                if !idle.is_ok_and(|idle| idle.is_ok()) {
                    drop(managed::Object::take(session));
                }
            });
        } else {
            drop(managed::Object::take(session));
        }
    }
}

impl Session {
    async fn ask(
        &self,
        question: &GuardedQuery,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, Rejected> {
        let client = &self.connection.client;
        let statements = || self.statements.lock().unwrap_or_else(PoisonError::into_inner);
        // The lock is not held while preparing; to prepare a statement twice is harmless.
        let known = statements().get(question).cloned();
        let statement = if let Some(statement) = known {
            statement
        } else {
            let prepared = match client.prepare(&question.guarded()).await {
                Ok(prepared) => prepared,
                // The statement was not executed, so even a change may be sent on another connection.
                Err(_) if client.is_closed() => return Err(Rejected::Server),
                Err(error) => return Err(rejected(error)),
            };
            let mut statements = statements();
            if statements.len() >= MAX_STATEMENTS {
                statements.clear();
            }
            statements.insert(question.clone(), prepared.clone());
            prepared
        };
        client.query(&statement, parameters).await.map_err(rejected)
    }
}

/// Classifies the error of a statement.
fn rejected(error: tokio_postgres::Error) -> Rejected {
    let Some(refused) = error.as_db_error() else {
        // Neither closed nor an I/O error: a parameter did not encode, so nothing was sent.
        let is_lost = error.is_closed() || is_io(&error);
        return if is_lost { Rejected::Connection(error.into()) } else { Rejected::Statement(error.into()) };
    };
    let ends_session = refused.parsed_severity() != Some(tokio_postgres::error::Severity::Error);
    match refused.code().code() {
        // Read-only; or a standby cancelled the query because it conflicts with WAL replay.
        "25006" | "40001" => Rejected::Server,
        // Tables or functions were replaced after the statement was prepared, or a pooler has lost the statement.
        "0A000" | "26000" | "42P01" | "42703" | "42883" | "42804" | "42846" | "XX000" => {
            Rejected::Connection(error.into())
        }
        _ if ends_session => Rejected::Connection(error.into()),
        _ => Rejected::Statement(error.into()),
    }
}

fn is_io(error: &tokio_postgres::Error) -> bool {
    std::error::Error::source(error).is_some_and(<dyn std::error::Error>::is::<std::io::Error>)
}
