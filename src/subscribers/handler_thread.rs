//! The thread of a worker on which the handler runs: a handler that blocks its thread holds up nothing else.
//!
//! On a thread of the runtime it could stop the timers of the whole process, and with them the check that it hangs.

use std::any::Any;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::mpsc;

use futures::FutureExt as _;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

type Job = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A thread that runs one future after the other; started when it is first needed.
#[derive(Default)]
pub(super) struct HandlerThread {
    jobs: Option<mpsc::Sender<Job>>,
}

/// What a future of the thread came to: its output, or what it panicked with.
pub(super) type Joined<T> = Result<T, Box<dyn Any + Send>>;

/// A future that runs on the thread.
pub(super) struct Task<T> {
    pub(super) joined: oneshot::Receiver<Joined<T>>,
    cancel: CancellationToken,
}

impl<T> Task<T> {
    /// Drops the future at its next await.
    pub(super) fn cancel(&self) {
        self.cancel.cancel();
    }
}

/// Dropping a task cancels it.
impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        self.cancel();
    }
}

impl HandlerThread {
    /// Runs a future on the thread, with the timers and sockets of this runtime.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub(super) fn run<T: Send + 'static>(
        &mut self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> std::io::Result<Task<T>> {
        let (done, joined) = oneshot::channel();
        let cancel = CancellationToken::new();
        let cancelled = cancel.clone();
        let mut job: Job = Box::pin(async move {
            let running = AssertUnwindSafe(cancelled.run_until_cancelled_owned(future)).catch_unwind();
            match running.await {
                Ok(Some(output)) => drop(done.send(Ok(output))),
                Ok(None) => {}
                Err(panic) => drop(done.send(Err(panic))),
            }
        });
        if let Some(jobs) = &self.jobs {
            match jobs.send(job) {
                Ok(()) => return Ok(Task { joined, cancel }),
                Err(mpsc::SendError(returned)) => job = returned,
            }
        }
        let jobs = start()?;
        // A thread that has just been started takes its first job.
        let _ = jobs.send(job);
        self.jobs = Some(jobs);
        Ok(Task { joined, cancel })
    }

    /// Leaves the thread to what it is at; the next future gets another one.
    pub(super) fn abandon(&mut self) {
        self.jobs = None;
    }
}

/// Starts a thread that ends when its jobs can no longer be sent.
fn start() -> std::io::Result<mpsc::Sender<Job>> {
    let runtime = Handle::current();
    let (jobs, received) = mpsc::channel::<Job>();
    std::thread::Builder::new().name("subscriber".to_owned()).spawn(move || {
        for job in received {
            runtime.block_on(job);
        }
    })?;
    Ok(jobs)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    impl<T> Task<T> {
        async fn wait(mut self) -> Joined<T> {
            (&mut self.joined).await.unwrap()
        }
    }

    #[tokio::test]
    async fn a_thread_outlives_a_panic_and_is_replaced_when_it_is_abandoned() {
        let mut thread = HandlerThread::default();
        let id = async || std::thread::current().id();
        let first = thread.run(id()).unwrap().wait().await.unwrap();
        let panicked: Joined<()> = thread.run(async { panic!("no") }).unwrap().wait().await;
        assert_eq!(panicked.unwrap_err().downcast_ref::<&str>(), Some(&"no"));
        assert_eq!(thread.run(id()).unwrap().wait().await.unwrap(), first);
        // One that blocks in a runtime of one thread.
        let blocked = thread.run(async { std::thread::sleep(Duration::from_millis(300)) }).unwrap();
        blocked.cancel();
        thread.abandon();
        assert_ne!(thread.run(id()).unwrap().wait().await.unwrap(), first);
        let mut pending = thread.run(std::future::pending::<()>()).unwrap();
        pending.cancel();
        assert!((&mut pending.joined).await.is_err(), "dropped");
        // One that nobody waits for.
        let (held, is_dropped) = oneshot::channel::<()>();
        drop(thread.run(async move {
            std::future::pending::<()>().await;
            drop(held);
        }));
        assert!(is_dropped.await.is_err(), "dropped with its task");
    }
}
