//! Questions to the database, answered by the primary or not at all.
//!
//! Each question carries, in its own statement, whether the server may answer it: it must not be in recovery nor
//! read-only, it must hold what this node has acknowledged or read before, in the same epoch. An answer from another
//! server is thrown away with its connection, and asked for again on a new one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use deadpool::managed::{self, Metrics, PoolError, QueueMode, RecycleError, RecycleResult};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Row, Statement};
use uuid::Uuid;

use super::checkpoint::Checkpoint;
use super::error::{PrimaryError, ReadError};
use super::seen::{Seen, SeenLog, ServerIdentity};
use crate::clock::Stopwatch;
use crate::ids::{EventId, LogId};
use crate::postgres::{Connection, Database};

/// How long a question may take, waiting for a connection and connecting included.
pub const READ_TIMEOUT: Duration = Duration::from_secs(5);

/// After how long without use a connection is asked whether it still lives, and how long it has for the answer.
const IDLE_LIMIT: Duration = Duration::from_secs(5);
const PING_TIMEOUT: Duration = Duration::from_secs(1);

/// A question is planned once and by its index, however small the tables were at that time: each has one. No question
/// is worth the start of background workers. The server gives up a little before this node does.
const SETTINGS: &str = "
    set plan_cache_mode = force_generic_plan; set enable_seqscan = off; set jit = off;
    set max_parallel_workers_per_gather = 0;
    set statement_timeout = '4500ms'; set lock_timeout = '4s'; set idle_in_transaction_session_timeout = '5s';";

/// What is asked beside each question, behind its own columns: whether there is a row at all, and what the server is, in
/// the bytes that [`Guard::decode`] reads; null if it is in recovery or read-only.
///
/// `offset 0` has the bytes computed once, not for each row, of which a follower's page has a thousand.
const GUARDED: &str = "
    select q.*, g.state
    from (select case when not pg_is_in_recovery() and current_setting('transaction_read_only') = 'off'
                      then (select int8send(epoch) from log.head)
                           || coalesce((select int8send(position) || uuid_send(event_id)
                                        from log.event order by position desc limit 1), '')
                      end as state
          offset 0) g
    left join lateral (select x.*, true as is_present from (";

/// How many statements a connection keeps prepared; there are fewer questions than that.
const MAX_STATEMENTS: usize = 512;

/// How many columns that adds.
const GUARD_COLUMNS: usize = 2;

/// A connection with the statements that were prepared on it.
pub struct Session {
    connection: Connection,
    /// The server behind the connection, which is another one if the node has moved on since.
    server: ServerIdentity,
    statements: Mutex<HashMap<GuardedQuery, Statement>>,
}

/// Opens the connections of the pool.
struct Opener {
    database: Database,
    seen: Arc<SeenLog>,
    /// When an idle connection was last found to be lost: those that were idle then are not waited for.
    found_lost: Mutex<Option<Stopwatch>>,
}

impl managed::Manager for Opener {
    type Type = Session;
    type Error = PrimaryError;

    async fn create(&self) -> Result<Session, PrimaryError> {
        let mut connection = self.database.connect("tenure", SETTINGS).await?;
        let server = self.seen.check(&mut connection.client).await?.actual;
        Ok(Session { connection, server, statements: Mutex::default() })
    }

    async fn recycle(&self, session: &mut Session, metrics: &Metrics) -> RecycleResult<PrimaryError> {
        let client = &session.connection.client;
        if client.is_closed() {
            return Err(RecycleError::message("the connection is closed"));
        }
        // Firewalls and load balancers forget idle connections without a word to either end, and all of them alike.
        let idle = metrics.last_used();
        if idle <= IDLE_LIMIT {
            return Ok(());
        }
        let lost = || RecycleError::message("the connection was lost while nobody used it");
        let found_lost = || self.found_lost.lock().unwrap_or_else(PoisonError::into_inner);
        if found_lost().as_ref().is_some_and(|since| since.elapsed() < idle) {
            return Err(lost());
        }
        if !timeout(PING_TIMEOUT, client.batch_execute("")).await.is_ok_and(|pong| pong.is_ok()) {
            *found_lost() = Some(Stopwatch::start());
            return Err(lost());
        }
        Ok(())
    }
}

/// A question in SQL; what changes data stands in a `with` clause, which PostgreSQL takes at the top level alone.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct GuardedQuery {
    with: String,
    select: String,
}

impl GuardedQuery {
    fn guarded(&self) -> String {
        let Self { with, select } = self;
        let with = if with.is_empty() { String::new() } else { format!("with {with} ") };
        format!("{with}{GUARDED}{select}) x) q on true")
    }
}

/// What a primary says beside an answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Guard {
    epoch: i64,
    position: i64,
    event_id: EventId,
}

impl Guard {
    /// Epoch and, unless the log is empty, newest position, 8 bytes each in network order, and the 16 bytes of the event
    /// there.
    fn decode(state: &[u8]) -> Option<Self> {
        let (epoch, newest) = state.split_first_chunk()?;
        let (position, event_id) = match newest.split_first_chunk() {
            Some((position, event_id)) => (i64::from_be_bytes(*position), event_id.try_into().ok()?),
            None => (0, [0; 16]),
        };
        let event_id = EventId::from_uuid(Uuid::from_bytes(event_id));
        Some(Self { epoch: i64::from_be_bytes(*epoch), position, event_id })
    }
}

/// The rows of an answer, and the state of the log that they show.
pub struct GuardedRows {
    /// The rows, each with [`GUARD_COLUMNS`] more columns behind its own.
    pub rows: Vec<Row>,
    /// The epoch of the log.
    pub epoch: i64,
    /// The newest position in the snapshot that the rows are from.
    pub position: i64,
    /// The event there; nil in an empty log.
    pub event_id: EventId,
}

impl GuardedRows {
    /// The newest place in the snapshot that the rows are from.
    #[must_use]
    pub const fn checkpoint(&self, log_id: LogId) -> Checkpoint {
        Checkpoint { log_id, epoch: self.epoch, position: self.position, event_id: self.event_id }
    }
}

/// Why an answer is not taken.
enum Rejected {
    /// The server may not answer: nothing was changed, or only what means little. To be asked again elsewhere.
    Server,
    /// The connection is of no use any more, and whether the statement was carried out is not known.
    Connection(PrimaryError),
    /// The statement was refused; the connection is fine.
    Statement(PrimaryError),
}

/// Asks the primary; clones share the pool.
#[derive(Clone)]
pub struct Primary {
    pool: managed::Pool<Opener>,
    seen: Arc<SeenLog>,
}

impl Primary {
    /// Questions to this database, through at most so many connections; none is opened yet.
    ///
    /// # Errors
    /// The pool cannot be made.
    pub fn new(database: Database, seen: Arc<SeenLog>, connections: usize) -> Result<Self, ReadError> {
        let opener = Opener { database, seen: seen.clone(), found_lost: Mutex::default() };
        let pool = managed::Pool::builder(opener).max_size(connections).queue_mode(QueueMode::Lifo).build();
        let pool = pool.map_err(|error| ReadError::Unavailable(Box::new(error)))?;
        Ok(Self { pool, seen })
    }

    /// Asks a question.
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

    /// The rows of an answer.
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

    /// The first row of an answer, if it has any.
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

    /// Changes rows outside the log, and gives how many.
    ///
    /// # Errors
    /// [`ReadError::Unavailable`]; the rows may have been changed all the same if the connection was lost.
    pub async fn execute(&self, change: &str, parameters: &[&(dyn ToSql + Sync)]) -> Result<u64, ReadError> {
        let with = format!("changed as ({change} returning true)");
        let answer = self.ask(&with, "select count(*) from changed", parameters).await?;
        let count: i64 = answer.rows.first().map_or(Ok(0), |row| row.try_get(0))?;
        Ok(count.unsigned_abs())
    }

    /// Asks a question beside the changes of its `with` clause.
    ///
    /// # Errors
    /// As [`Primary::execute`].
    pub async fn ask(
        &self,
        with: &str,
        select: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<GuardedRows, ReadError> {
        self.boxed(with, select, parameters, with.is_empty()).await
    }

    /// Calls a function that changes rows outside the log: not carried out again when the connection is lost.
    ///
    /// # Errors
    /// As [`Primary::execute`].
    pub async fn call(
        &self,
        select: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Option<Row>, ReadError> {
        Ok(self.boxed("", select, parameters, false).await?.rows.into_iter().next())
    }

    /// Closes the idle connections: they were opened to the same address as one that led astray, and are checked anew
    /// before they are trusted again.
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
        // Every operation and every route has this at its bottom: boxed, it does not make each of their futures larger.
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
        // Each connection may lead astray once; after that they are new.
        for _ in 0..=self.pool.status().max_size {
            let seen = self.seen.get();
            let session = match timeout_at(deadline, self.pool.get()).await {
                Ok(Ok(session)) => CheckedOut(Some(session)),
                Ok(Err(PoolError::Backend(error))) => return Err(error.into()),
                Ok(Err(error)) => return Err(ReadError::Unavailable(Box::new(error))),
                Err(_) => return Err(PrimaryError::TimedOut(READ_TIMEOUT).into()),
            };
            // The node has moved on to another server since this connection was checked.
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
                // Nothing was changed, so that it can be asked again; once, or a table that is missing would be asked
                // for without end.
                Rejected::Connection(PrimaryError::Statement(error)) if is_question && !is_repeated => {
                    is_repeated = true;
                    tracing::debug!(%error, "a question is asked again on another connection");
                }
                Rejected::Connection(error) => return Err(error.into()),
                _ => tracing::warn!(
                    "a server that may not answer for the log was asked; trying another connection"
                ),
            }
        }
        Err(PrimaryError::Stale.into())
    }

    /// The answer, if the server may give it.
    fn accept(&self, mut rows: Vec<Row>, seen: &Seen) -> Result<Option<GuardedRows>, tokio_postgres::Error> {
        let Some(first) = rows.first() else {
            return Ok(None);
        };
        let guard = first.len() - GUARD_COLUMNS;
        let state: Option<&[u8]> = first.try_get(guard + 1)?;
        let Some(Guard { epoch, position, event_id }) = state.and_then(Guard::decode) else {
            return Ok(None);
        };
        let is_another = position == seen.position && event_id != seen.event_id;
        if epoch != seen.epoch || position < seen.position || is_another {
            return Ok(None);
        }
        self.seen.advance(epoch, position, event_id);
        if first.try_get::<_, Option<bool>>(guard)?.is_none() {
            rows.clear();
        }
        Ok(Some(GuardedRows { rows, epoch, position, event_id }))
    }
}

/// A connection out of the pool. It goes back only once its answer has come: whoever is handed it next must not wait
/// behind the statement of a caller that has gone.
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
        // Its caller has gone. It keeps its place in the pool until the server is done with the statement, so that callers
        // who come and go make no more connections than the pool may have.
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
        let known = statements().get(question).cloned();
        let statement = if let Some(statement) = known {
            statement
        } else {
            let prepared = match client.prepare(&question.guarded()).await {
                Ok(prepared) => prepared,
                // Nothing of it was carried out.
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

/// What follows from the error of a statement.
fn rejected(error: tokio_postgres::Error) -> Rejected {
    let Some(refused) = error.as_db_error() else {
        // A parameter that does not encode has not been sent.
        let is_lost = error.is_closed() || is_io(&error);
        return if is_lost { Rejected::Connection(error.into()) } else { Rejected::Statement(error.into()) };
    };
    let ends_session = refused.parsed_severity() != Some(tokio_postgres::error::Severity::Error);
    match refused.code().code() {
        // Read-only, and a query that a standby cancels because it replays what conflicts.
        "25006" | "40001" => Rejected::Server,
        // Tables or functions were replaced under a prepared statement; or a pooler has lost it.
        "0A000" | "26000" | "42P01" | "42703" | "42883" | "42804" | "42846" => {
            Rejected::Connection(error.into())
        }
        _ if ends_session => Rejected::Connection(error.into()),
        _ => Rejected::Statement(error.into()),
    }
}

fn is_io(error: &tokio_postgres::Error) -> bool {
    std::error::Error::source(error).is_some_and(<dyn std::error::Error>::is::<std::io::Error>)
}
