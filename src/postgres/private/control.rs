//! What the supervising thread and those who stop it share: whether to stop, and the process that runs now.

use std::io;
use std::process::{Child, Command, ExitStatus};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::clock::Stopwatch;

/// How often a process that is waited for is looked at.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(20);

#[derive(Debug, Default)]
struct Shared {
    stopping: bool,
    child: Option<Pid>,
}

/// The switch between the two.
#[derive(Debug, Default)]
pub(super) struct Control {
    shared: Mutex<Shared>,
    stop: Condvar,
}

impl Control {
    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the supervision; the server shuts down fast.
    pub fn request_stop(&self) {
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

    /// Sleeps, unless or until it is asked to stop.
    pub fn pause(&self, duration: Duration) {
        let shared = self.shared();
        drop(self.stop.wait_timeout_while(shared, duration, |shared| !shared.stopping));
    }

    /// Signals the process that runs now; under the lock, so that its number is not yet another's.
    pub fn signal(&self, signal: Signal) {
        if let Some(pid) = self.shared().child
            && let Err(error) = kill(pid, signal)
        {
            tracing::warn!(%pid, %signal, %error, "cannot signal PostgreSQL");
        }
    }

    /// Starts a process, unless it is asked to stop.
    pub fn spawn(&self, command: &mut Command) -> io::Result<Option<Child>> {
        let mut shared = self.shared();
        if shared.stopping {
            return Ok(None);
        }
        let child = command.spawn()?;
        shared.child = i32::try_from(child.id()).ok().map(Pid::from_raw);
        Ok(Some(child))
    }

    /// How the process ended, if it did.
    pub fn try_wait(&self, child: &mut Child) -> io::Result<Option<ExitStatus>> {
        let mut shared = self.shared();
        let status = child.try_wait()?;
        if status.is_some() {
            shared.child = None;
        }
        Ok(status)
    }

    /// Waits until the process ends.
    pub fn wait(&self, child: &mut Child) -> io::Result<ExitStatus> {
        loop {
            wait_unreaped(child.id());
            if let Some(status) = self.try_wait(child)? {
                return Ok(status);
            }
        }
    }

    /// Ends a process that does not do what it should: politely, then not.
    pub fn end(&self, child: &mut Child) -> io::Result<ExitStatus> {
        self.signal(Signal::SIGINT);
        let asked = Stopwatch::start();
        while asked.elapsed() < Duration::from_secs(10) {
            if let Some(status) = self.try_wait(child)? {
                return Ok(status);
            }
            thread::sleep(LOOK_EVERY);
        }
        self.signal(Signal::SIGQUIT);
        self.wait(child)
    }
}

/// Waits for the end of a child and leaves its number taken.
#[cfg(target_os = "linux")]
fn wait_unreaped(pid: u32) {
    use nix::sys::wait::{Id, WaitPidFlag, waitid};
    if let Ok(pid) = i32::try_from(pid) {
        while waitid(Id::Pid(Pid::from_raw(pid)), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT)
            == Err(nix::errno::Errno::EINTR)
        {}
    }
}

/// Here a child can only be looked at from time to time.
#[cfg(not(target_os = "linux"))]
fn wait_unreaped(_pid: u32) {
    thread::sleep(Duration::from_millis(100));
}
