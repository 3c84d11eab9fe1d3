//! State shared by the supervising thread and the code that stops it: the stop request and the current process.

use std::io;
use std::process::{Child, Command, ExitStatus};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::clock::Stopwatch;

/// How often to check a process while waiting for it.
pub(super) const PROBE_INTERVAL: Duration = Duration::from_millis(20);

#[derive(Debug, Default)]
struct Shared {
    stopping: bool,
    child: Option<Pid>,
}

/// Lets one thread stop the server that another thread runs.
#[derive(Debug, Default)]
pub(super) struct Control {
    shared: Mutex<Shared>,
    stop: Condvar,
}

impl Control {
    fn shared(&self) -> MutexGuard<'_, Shared> {
        // Two plain fields, which a panic elsewhere cannot leave half changed.
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Requests a stop: ends the supervision and asks the server for a fast shutdown.
    pub fn request_stop(&self) {
        // Before the signal: a process that is not started yet would miss it, and `spawn` checks the flag.
        self.shared().stopping = true;
        self.stop.notify_all();
        self.signal(Signal::SIGINT);
    }

    pub fn stopping(&self) -> bool {
        self.shared().stopping
    }

    pub fn pid(&self) -> Option<Pid> {
        self.shared().child
    }

    /// Sleeps for this duration, or until a stop is requested.
    pub fn pause(&self, duration: Duration) {
        let shared = self.shared();
        drop(self.stop.wait_timeout_while(shared, duration, |shared| !shared.stopping));
    }

    /// Signals the current process, if there is one. Under the lock, so that the process cannot be reaped and its ID
    /// reused in between.
    pub fn signal(&self, signal: Signal) {
        if let Some(pid) = self.shared().child
            && let Err(error) = kill(pid, signal)
        {
            tracing::warn!(%pid, %signal, %error, "cannot signal PostgreSQL");
        }
    }

    /// Starts a process; none if a stop has been requested. Under the lock, so that a stop request either prevents the
    /// start or finds the process to signal.
    pub fn spawn(&self, command: &mut Command) -> io::Result<Option<Child>> {
        let mut shared = self.shared();
        if shared.stopping {
            return Ok(None);
        }
        let child = command.spawn()?;
        shared.child = i32::try_from(child.id()).ok().map(Pid::from_raw);
        Ok(Some(child))
    }

    /// The exit status of the process; none while it is running. Reaps it under the lock, see [`Control::signal`].
    pub fn try_wait(&self, child: &mut Child) -> io::Result<Option<ExitStatus>> {
        let mut shared = self.shared();
        let status = child.try_wait()?;
        if status.is_some() {
            shared.child = None;
        }
        Ok(status)
    }

    /// Waits until the process exits.
    pub fn wait(&self, child: &mut Child) -> io::Result<ExitStatus> {
        loop {
            // Without the lock, so that `signal` works while this waits.
            wait_unreaped(child.id());
            if let Some(status) = self.try_wait(child)? {
                return Ok(status);
            }
        }
    }

    /// Ends a process that failed to become ready: a fast shutdown, and after ten seconds an immediate one.
    pub fn end(&self, child: &mut Child) -> io::Result<ExitStatus> {
        self.signal(Signal::SIGINT);
        let asked = Stopwatch::start();
        while asked.elapsed() < Duration::from_secs(10) {
            if let Some(status) = self.try_wait(child)? {
                return Ok(status);
            }
            thread::sleep(PROBE_INTERVAL);
        }
        self.signal(Signal::SIGQUIT);
        self.wait(child)
    }
}

/// Waits until a child exits without reaping it, so that its ID cannot be reused before [`Control::try_wait`].
#[cfg(target_os = "linux")]
fn wait_unreaped(pid: u32) {
    use nix::sys::wait::{Id, WaitPidFlag, waitid};
    if let Ok(pid) = i32::try_from(pid) {
        while waitid(Id::Pid(Pid::from_raw(pid)), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT)
            == Err(nix::errno::Errno::EINTR)
        {}
    }
}

/// Other systems: the caller polls, with this pause.
#[cfg(not(target_os = "linux"))]
fn wait_unreaped(_pid: u32) {
    thread::sleep(Duration::from_millis(100));
}
