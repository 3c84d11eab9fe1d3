//! One call of a handler: neither a panic nor a handler that never returns ends the subscriber.

use std::any::Any;
use std::panic;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_postgres::Statement;
use tokio_postgres::types::ToSql;

use super::handler::{AnyEffectHandler, AnyTransactionalHandler, Delivery, Failure};
use super::handler_thread::{HandlerThread, Task};
use super::store::{ADVANCE_PARKED, CHANGED, CHECKPOINT, Held, Mark, Store, signed};
use crate::event_log::{EventLog, RecordedEvent, StreamId};
use crate::postgres::{Connection, STATEMENT_TIMEOUT, is_outage};

/// How much longer than a handler its transaction may take.
const TRANSACTION_MARGIN: Duration = Duration::from_secs(5);

/// What came of a call.
#[derive(Debug)]
pub(super) enum Outcome {
    /// Everything was handled. The checkpoint of a transaction is stored with it.
    Done,
    /// The events before this one were handled; it was not.
    Failed(usize, Failure),
    /// The events before this one were handled; its handler panicked or did not return in time.
    Died(usize, String),
    /// The lease has ended: another process may hold the slice.
    LeaseLost,
    /// The database is not available, or no thread. A transaction may have been stored.
    Unavailable(String),
}

/// Until when this process holds a slice; it is renewed meanwhile.
#[derive(Clone)]
pub(super) struct Lease(watch::Receiver<Instant>);

impl Lease {
    pub(super) const fn new(until: watch::Receiver<Instant>) -> Self {
        Self(until)
    }

    pub(super) fn is_over(&self) -> bool {
        Instant::now() >= *self.0.borrow()
    }

    /// Waits until the lease has ended without being renewed.
    pub(super) async fn over(&self) {
        loop {
            let until = *self.0.borrow();
            sleep_until(until).await;
            if self.is_over() {
                return;
            }
        }
    }
}

/// What is to be stored in the transaction of a handler.
pub(super) enum Commit {
    /// The checkpoint of the slice.
    Slice(Mark),
    /// The place of a stream that was parked: after the event at this position.
    Parked(StreamId, i64),
}

/// A connection for the transactions of handlers.
pub(super) struct Session {
    connection: Connection,
    checkpoint: Statement,
    advance_parked: Statement,
}

impl Session {
    /// Connects as the serving role, to a server that has everything that this process has seen of the log.
    async fn open(log: &EventLog, handler_timeout: Duration) -> Result<Self, String> {
        // The server ends what the handler's own timeout has not ended.
        let limit = (handler_timeout + TRANSACTION_MARGIN).as_millis();
        let settings = format!(
            "set statement_timeout = {limit}; set lock_timeout = {limit};
             set idle_in_transaction_session_timeout = {limit};
             select set_config('synchronous_commit', 'on', false)
             where current_setting('synchronous_commit') in ('off', 'local');"
        );
        let opening = async {
            let mut connection = log
                .database()
                .connect("tenure subscriber", &settings)
                .await
                .map_err(|error| error.to_string())?;
            log.seen().check(&mut connection.client).await.map_err(|error| error.to_string())?;
            let prepare = async |with| connection.client.prepare(&format!("with {with} {CHANGED}")).await;
            let checkpoint = prepare(CHECKPOINT).await.map_err(|error| error.to_string())?;
            let advance_parked = prepare(ADVANCE_PARKED).await.map_err(|error| error.to_string())?;
            Ok(Self { connection, checkpoint, advance_parked })
        };
        let waited = timeout(STATEMENT_TIMEOUT, opening).await;
        waited.unwrap_or_else(|_| Err("PostgreSQL did not answer in time".to_owned()))
    }
}

/// What a call needs to know.
#[derive(Clone)]
pub(super) struct Call {
    pub(super) log: EventLog,
    pub(super) store: Store,
    pub(super) held: Held,
    pub(super) epoch: i64,
    pub(super) lease: Lease,
    pub(super) timeout: Duration,
    pub(super) delivery: Delivery,
}

/// Calls a handler within a transaction that stores the checkpoint too. `session` is the connection of the last call, if it
/// can be used again.
pub(super) async fn in_transaction(
    call: &Call,
    handler: &Arc<dyn AnyTransactionalHandler>,
    events: Vec<Arc<RecordedEvent>>,
    commit: Commit,
    session: &mut Option<Session>,
    thread: &mut HandlerThread,
) -> Outcome {
    let mut own = match session.take() {
        Some(session) if !session.connection.client.is_closed() => session,
        _ => match Session::open(&call.log, call.timeout).await {
            Ok(session) => session,
            Err(reason) => return Outcome::Unavailable(reason),
        },
    };
    if call.lease.is_over() {
        return Outcome::LeaseLost;
    }
    let phase = Arc::new(AtomicUsize::new(0));
    let (of_task, handler, context) = (phase.clone(), handler.clone(), call.clone());
    let task = thread.run(async move {
        let outcome = transact(&context, &*handler, &events, &commit, &mut own, &of_task).await;
        (outcome, own)
    });
    match watched(task, thread, &phase, call).await {
        Ended::Returned((outcome, own)) => {
            // After anything else the connection is not known to be outside a transaction.
            if matches!(outcome, Outcome::Done) {
                *session = Some(own);
            }
            outcome
        }
        Ended::Died(how) if how.is_timeout && database_is_slow(call).await => {
            Outcome::Unavailable("PostgreSQL does not answer".to_owned())
        }
        Ended::Died(how) if phase.load(Ordering::SeqCst) == HANDLING => Outcome::Died(0, how.text),
        Ended::Died(Death { text, .. }) | Ended::NotStarted(text) => Outcome::Unavailable(text),
        Ended::LeaseOver => Outcome::LeaseLost,
    }
}

/// The phase of a transaction in which the handler runs.
const HANDLING: usize = 1;

async fn transact(
    call: &Call,
    handler: &dyn AnyTransactionalHandler,
    events: &[Arc<RecordedEvent>],
    commit: &Commit,
    session: &mut Session,
    phase: &AtomicUsize,
) -> Outcome {
    let unavailable = |error: tokio_postgres::Error| Outcome::Unavailable(error.to_string());
    let Session { connection, checkpoint, advance_parked } = session;
    let transaction = match connection.client.transaction().await {
        Ok(transaction) => transaction,
        Err(error) => return unavailable(error),
    };
    phase.store(HANDLING, Ordering::SeqCst);
    if let Err(failure) = handler.handle(events, &call.delivery, &transaction).await {
        return Outcome::Failed(0, failure);
    }
    phase.store(HANDLING + 1, Ordering::SeqCst);
    let name = &*call.store.name;
    let (slice, lease_epoch) = (signed(call.held.slice), call.held.lease_epoch);
    let answer = match commit {
        Commit::Slice(Mark { position, event_id, in_doubt, before }) => {
            let parameters: [&(dyn ToSql + Sync); 9] =
                [&name, &slice, &lease_epoch, position, event_id, in_doubt, &call.epoch, before, &false];
            transaction.query_one(&*checkpoint, &parameters).await
        }
        Commit::Parked(stream, after) => {
            let (stream_type, id) = (&*stream.stream_type, &*stream.id);
            let parameters: [&(dyn ToSql + Sync); 7] =
                [&name, &slice, &lease_epoch, &call.epoch, &stream_type, &id, after];
            transaction.query_one(&*advance_parked, &parameters).await
        }
    };
    let changed: i64 = match answer.and_then(|row| row.try_get(0)) {
        Ok(changed) => changed,
        // A statement of the handler had failed, and the handler did not say so.
        Err(error) if error.code().is_some_and(|code| code.code() == "25P02") => {
            return Outcome::Failed(
                0,
                Failure::event("a statement failed, but the handler returned no failure"),
            );
        }
        Err(error) => return unavailable(error),
    };
    if changed == 0 {
        return Outcome::LeaseLost;
    }
    match transaction.commit().await {
        Ok(()) => Outcome::Done,
        // What is checked only now, such as a deferred constraint or trigger, refuses the changes of the handler.
        Err(error) if error.as_db_error().is_some() && !is_outage(&error) => Outcome::Failed(0, error.into()),
        Err(error) => unavailable(error),
    }
}

/// Calls a handler for one event after the other.
pub(super) async fn effects(
    call: &Call,
    handler: &Arc<dyn AnyEffectHandler>,
    events: Vec<Arc<RecordedEvent>>,
    thread: &mut HandlerThread,
) -> Outcome {
    let progress = Arc::new(AtomicUsize::new(0));
    let (of_task, handler, context) = (progress.clone(), handler.clone(), call.clone());
    let task = thread.run(async move {
        for (number, event) in events.iter().enumerate() {
            // A process that was suspended may have lost its lease.
            if context.lease.is_over() {
                return Outcome::LeaseLost;
            }
            let attempt = if number == 0 { context.delivery.attempt } else { 1 };
            let delivery = Delivery { attempt, ..context.delivery.clone() };
            if let Err(failure) = handler.handle(event, &delivery).await {
                return Outcome::Failed(number, failure);
            }
            of_task.store(number + 1, Ordering::SeqCst);
            // Where a call that was given up ends, even if its handler never waits for anything.
            tokio::task::yield_now().await;
        }
        Outcome::Done
    });
    match watched(task, thread, &progress, call).await {
        Ended::Returned(outcome) => outcome,
        Ended::Died(how) => Outcome::Died(progress.load(Ordering::SeqCst), how.text),
        Ended::LeaseOver => Outcome::LeaseLost,
        Ended::NotStarted(reason) => Outcome::Unavailable(reason),
    }
}

/// How a task ended.
enum Ended<T> {
    Returned(T),
    Died(Death),
    LeaseOver,
    NotStarted(String),
}

struct Death {
    text: String,
    is_timeout: bool,
}

/// Waits for a task as long as it makes progress and the lease lasts, then cancels it. A task that blocks its thread cannot
/// be cancelled; the thread is left to it.
async fn watched<T>(
    task: std::io::Result<Task<T>>,
    thread: &mut HandlerThread,
    progress: &AtomicUsize,
    call: &Call,
) -> Ended<T> {
    let mut task = match task {
        Ok(task) => task,
        Err(error) => return Ended::NotStarted(error.to_string()),
    };
    loop {
        let before = progress.load(Ordering::SeqCst);
        let ended = tokio::select! {
            joined = &mut task.joined => return match joined {
                Ok(Ok(returned)) => Ended::Returned(returned),
                Ok(Err(panic)) => Ended::Died(Death { text: panic_text(panic), is_timeout: false }),
                Err(_) => Ended::NotStarted("the thread of the handler has ended".to_owned()),
            },
            () = sleep(call.timeout) => {
                if progress.load(Ordering::SeqCst) != before {
                    continue;
                }
                let text = format!("the handler did not return within {:?}", call.timeout);
                Ended::Died(Death { text, is_timeout: true })
            }
            () = call.lease.over() => Ended::LeaseOver,
        };
        task.cancel();
        thread.abandon();
        return ended;
    }
}

/// What a panic said.
fn panic_text(panic: Box<dyn Any + Send>) -> String {
    let said = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let said = said.or_else(|| panic.downcast_ref::<String>().cloned());
    // What it panicked with may itself panic when it is dropped.
    let _ = panic::catch_unwind(panic::AssertUnwindSafe(|| drop(panic)));
    said.map_or_else(|| "the handler panicked".to_owned(), |said| format!("the handler panicked: {said}"))
}

/// Whether the database, and not the event, is why a transaction took too long.
async fn database_is_slow(call: &Call) -> bool {
    call.log.newest().await.is_err()
}
