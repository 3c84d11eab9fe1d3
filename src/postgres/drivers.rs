//! Drives connections in the task that uses them.
//!
//! A connection has to be polled to send and to receive, usually by a task of its own. That costs two switches between tasks for each
//! statement; and of tasks that wake each other in turn, tokio hands the fourth to another thread, which it wakes for that.

use std::future::poll_fn;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use futures::future::{BoxFuture, FutureExt as _};
use futures::task::AtomicWaker;

/// How often user and connections are polled in turn before other tasks have theirs. Also ends the turns of a task that has used up its
/// budget: everything it polls then wakes it at once.
const MAX_TURNS: usize = 16;

/// The connections of one task, which drives them beside what it does with them. Clones share them.
#[derive(Clone)]
pub struct Drivers {
    connections: Arc<Mutex<Vec<Driven>>>,
    next_id: Arc<AtomicU64>,
    user: Arc<Part>,
    driving: Arc<Part>,
    task: Arc<Task>,
}

struct Driven {
    id: u64,
    future: BoxFuture<'static, ()>,
}

/// What the task is woken for: its own future, or its connections.
struct Part {
    is_woken: AtomicBool,
    task: Arc<Task>,
}

/// The task that both parts wake.
#[derive(Default)]
struct Task {
    /// Set while the task will still look at both parts before it sleeps. It is not woken then, because tokio would wake another thread to
    /// take over a task that is woken while it runs.
    is_awake: AtomicBool,
    waker: AtomicWaker,
}

impl Wake for Part {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // In this order, and the opposite one in `drive`: one of the two sees what the other has stored.
        self.is_woken.store(true, Ordering::SeqCst);
        if !self.task.is_awake.load(Ordering::SeqCst) {
            self.task.waker.wake();
        }
    }
}

impl Part {
    fn new(task: &Arc<Task>) -> Arc<Self> {
        Arc::new(Self { is_woken: AtomicBool::new(true), task: task.clone() })
    }

    fn take_wake(&self) -> bool {
        self.is_woken.swap(false, Ordering::SeqCst)
    }

    fn is_woken(&self) -> bool {
        self.is_woken.load(Ordering::SeqCst)
    }
}

impl Default for Drivers {
    fn default() -> Self {
        let task = Arc::new(Task::default());
        Self {
            connections: Arc::default(),
            next_id: Arc::default(),
            user: Part::new(&task),
            driving: Part::new(&task),
            task,
        }
    }
}

impl Drivers {
    /// Runs the future, and drives the connections that it opens. They get no further while it is not polled.
    pub async fn drive<F: Future>(&self, future: F) -> F::Output {
        let mut future = pin!(future);
        let (user, driving) = (Waker::from(self.user.clone()), Waker::from(self.driving.clone()));
        poll_fn(|context| {
            self.task.waker.register(context.waker());
            self.task.is_awake.store(true, Ordering::SeqCst);
            for _ in 0..MAX_TURNS {
                if self.user.take_wake() {
                    let polled = future.as_mut().poll(&mut Context::from_waker(&user));
                    if polled.is_ready() {
                        return polled;
                    }
                }
                if self.driving.take_wake() {
                    self.poll_connections(&mut Context::from_waker(&driving));
                }
                if self.user.is_woken() || self.driving.is_woken() {
                    continue;
                }
                self.task.is_awake.store(false, Ordering::SeqCst);
                // Woken after the last look, when the task still seemed to be awake.
                if !self.user.is_woken() && !self.driving.is_woken() {
                    return Poll::Pending;
                }
                self.task.is_awake.store(true, Ordering::SeqCst);
            }
            self.task.is_awake.store(false, Ordering::SeqCst);
            context.waker().wake_by_ref();
            Poll::Pending
        })
        .await
    }

    /// Drives one more connection. Like a task, one that panics ends alone.
    pub(super) fn add(&self, connection: impl Future<Output = ()> + Send + 'static) -> u64 {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let future = AssertUnwindSafe(connection).catch_unwind().map(drop).boxed();
        self.connections().push(Driven { id, future });
        self.driving.wake_by_ref();
        id
    }

    /// Drops a connection: every statement pending on it fails.
    pub(super) fn remove(&self, id: u64) {
        let removed = {
            let mut connections = self.connections();
            let place = connections.iter().position(|connection| connection.id == id);
            place.map(|place| connections.swap_remove(place))
        };
        // Not under the lock: it wakes those who wait for answers.
        drop(removed);
    }

    fn poll_connections(&self, context: &mut Context<'_>) {
        self.connections().retain_mut(|connection| connection.future.poll_unpin(context).is_pending());
    }

    fn connections(&self) -> MutexGuard<'_, Vec<Driven>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::sync::mpsc;
    use tokio::time::timeout;

    use super::Drivers;

    const PATIENCE: Duration = Duration::from_secs(20);

    /// Sends back what it gets, as a server does.
    fn echo(drivers: &Drivers) -> (u64, mpsc::UnboundedSender<u32>, mpsc::UnboundedReceiver<u32>) {
        let (ask, mut asked) = mpsc::unbounded_channel();
        let (answer, answers) = mpsc::unbounded_channel();
        let id = drivers.add(async move {
            while let Some(question) = asked.recv().await {
                assert_ne!(question, u32::MAX, "a question that ends the connection with a panic");
                let _ = answer.send(question);
            }
        });
        (id, ask, answers)
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn no_wake_is_lost_from_any_thread() {
        let drivers = Drivers::default();
        let (outside, mut pings) = mpsc::channel(1);
        let others = tokio::spawn(async move {
            for number in 0..20_000_u32 {
                outside.send(number).await.unwrap();
            }
        });
        let work = async {
            let (_, ask, mut answers) = echo(&drivers);
            while let Some(number) = pings.recv().await {
                ask.send(number).unwrap();
                assert_eq!(answers.recv().await, Some(number));
            }
        };
        timeout(PATIENCE, drivers.drive(work)).await.expect("a wake-up was lost");
        others.await.unwrap();
    }

    #[tokio::test]
    async fn a_connection_that_always_has_something_to_do_leaves_other_tasks_their_turn() {
        let drivers = Drivers::default();
        drivers.add(std::future::poll_fn(|context| {
            context.waker().wake_by_ref();
            std::task::Poll::Pending
        }));
        let (done, finished) = tokio::sync::oneshot::channel();
        // On the same thread.
        tokio::spawn(async move {
            tokio::task::yield_now().await;
            done.send(()).unwrap();
        });
        drivers.drive(finished).await.unwrap();
    }

    #[tokio::test]
    async fn a_connection_that_is_cut_or_panics_fails_who_waits_for_it_and_no_other() {
        let drivers = Drivers::default();
        let work = async {
            let (cut, ask_cut, mut from_cut) = echo(&drivers);
            let (_, ask_panicking, mut from_panicking) = echo(&drivers);
            let (_, ask, mut answers) = echo(&drivers);
            ask_cut.send(1).unwrap();
            drivers.remove(cut);
            assert_eq!(from_cut.recv().await, None);
            ask_panicking.send(u32::MAX).unwrap();
            assert_eq!(from_panicking.recv().await, None);
            ask.send(2).unwrap();
            assert_eq!(answers.recv().await, Some(2));
        };
        timeout(PATIENCE, drivers.drive(work)).await.expect("answers and failures come");
    }
}
