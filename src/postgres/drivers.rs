//! Drives connections in the task that uses them.
//!
//! A connection has to be polled to send and to receive, usually by a task of its own. That costs two switches between tasks for each
//! statement; and of tasks that wake each other in turn, tokio hands the fourth to another thread, which it wakes for that.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
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
    /// It looks at both parts before it sleeps, so it need not be woken. A task that is woken while it runs costs a thread that looks for
    /// work.
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

    /// Drives one more connection.
    pub(super) fn add(&self, connection: impl Future<Output = ()> + Send + 'static) -> u64 {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        self.connections().push(Driven { id, future: connection.boxed() });
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

    fn connections(&self) -> std::sync::MutexGuard<'_, Vec<Driven>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
