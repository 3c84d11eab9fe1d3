//! The first process of a container: runs the command as its child, passes signals on, and reaps orphans.
//!
//! The kernel ignores a signal to PID 1 that it has no handler for, so that a plain command could not be stopped.
//!
//! The kernel makes PID 1 the parent of every orphan, for example of PostgreSQL's processes when the postmaster was
//! killed. A parent that does not reap them fills the process table; a server that reaped any child would take the exit
//! status of its own from the code that waits for it. So the two are different processes.

use std::io::IsTerminal as _;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use anyhow::Context as _;
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;
use tokio::signal::unix::{SignalKind, signal};

/// Whether this process is the first one of a container.
pub(super) fn is_first_process() -> bool {
    std::process::id() == 1
}

/// The signals that are passed on, from the first moment on.
pub(super) struct Signals(Vec<(SignalKind, tokio::signal::unix::Signal)>);

impl Signals {
    /// Begins to listen.
    ///
    /// # Errors
    /// The handlers cannot be installed.
    pub(super) fn listen() -> std::io::Result<Self> {
        let kinds =
            [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::quit(), SignalKind::hangup()];
        let streams = kinds.map(|kind| Ok((kind, signal(kind)?)));
        Ok(Self(streams.into_iter().collect::<std::io::Result<_>>()?))
    }
}

/// Runs this program again with the same arguments, as a child; returns its exit code, or 128 and the number of the
/// signal that ended it. `serves`: whether the command is a server, which shuts down cleanly on the first signal and at once on the second.
pub(super) async fn run(serves: bool, signals: Signals) -> anyhow::Result<u8> {
    // A terminal sends these two to all processes of its foreground group, of which the child is one unless it serves.
    let from_terminal = !serves && std::io::stdin().is_terminal();
    let program = std::env::current_exe().context("cannot find this program, to run it as a child")?;
    let mut command = Command::new(&program);
    command.args(std::env::args_os().skip(1));
    if serves {
        // A process group of its own: a terminal would send Ctrl-C to both, so the child would get it twice. Other commands may ask at
        // the terminal, which only its foreground group may read.
        command.process_group(0);
    }
    let child = command.spawn().with_context(|| format!("cannot run {} as a child", program.display()))?;
    let child = Pid::from_raw(i32::try_from(child.id())?);
    for (kind, mut stream) in signals.0 {
        let signal = Signal::try_from(kind.as_raw_value())?;
        tokio::spawn(async move {
            while stream.recv().await.is_some() {
                if !(from_terminal && matches!(signal, Signal::SIGINT | Signal::SIGQUIT)) {
                    let _ = kill(child, signal);
                }
            }
        });
    }
    tokio::task::spawn_blocking(move || reap_until(child)).await?
}

/// Reaps every child until this one has ended.
fn reap_until(child: Pid) -> anyhow::Result<u8> {
    loop {
        match waitpid(None, None) {
            Ok(WaitStatus::Exited(pid, code)) if pid == child => return Ok(u8::try_from(code).unwrap_or(1)),
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == child => {
                return Ok(u8::try_from(128 + signal as i32).unwrap_or(1));
            }
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error).context("cannot wait for the command"),
        }
    }
}
