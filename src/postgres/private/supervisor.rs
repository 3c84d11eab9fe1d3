//! The thread that starts the server and restarts it when it exits unexpectedly. It lives as long as the server.

use std::time::Duration;

use tokio::sync::{oneshot, watch};

use super::control::Control;
use super::error::PrivatePostgresError;
use super::server::Server;
use super::settings::{Options, State};
use crate::clock::Stopwatch;

/// The number of consecutive failed starts after which the server is not restarted. A server that accepted connections
/// before it exited does not count as failed.
const MOST_FAILURES: u32 = 8;

/// The uptime after which earlier exits no longer lengthen the pause before a restart.
const STABLE_UPTIME: Duration = Duration::from_mins(1);

/// How long to wait for processes of an earlier server to exit, and the pause between tries.
const LINGER: Duration = Duration::from_mins(1);
const LINGER_PAUSE: Duration = Duration::from_millis(200);

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Receives the result of the first start.
type First = oneshot::Sender<Result<(), PrivatePostgresError>>;

/// Runs the server until a stop is requested or it fails for good.
pub(super) fn supervise(options: &Options, control: &Control, state: &watch::Sender<State>, first: First) {
    let server = match Server::prepare(options, control) {
        Ok(server) => server,
        Err(error) => return refuse(error, state, first),
    };
    let mut first = Some(first);
    let end = keep_alive(&server, control, state, &mut first);
    // Releases the lock before the last state is sent: a caller that sees it may start a new server immediately.
    drop(server);
    match (end, first) {
        (Some(error), Some(first)) => refuse(error, state, first),
        (Some(error), None) => {
            tracing::error!(%error, "PostgreSQL cannot be kept running; giving up");
            state.send_replace(State::Failed { reason: error.to_string() });
        }
        (None, _) => {
            state.send_replace(State::Stopped);
        }
    }
}

fn refuse(error: PrivatePostgresError, state: &watch::Sender<State>, first: First) {
    state.send_replace(State::Failed { reason: error.to_string() });
    if first.send(Err(error)).is_err() {
        tracing::debug!("no caller is waiting for PostgreSQL");
    }
}

/// Starts and restarts the server. Returns none after a stop request, otherwise the last failure. The first start gets
/// one try, unless only processes of an earlier server prevent it: an operator is waiting for the error.
fn keep_alive(
    server: &Server,
    control: &Control,
    state: &watch::Sender<State>,
    first: &mut Option<First>,
) -> Option<PrivatePostgresError> {
    let (mut failures, mut deaths) = (0, 0);
    let mut lingering: Option<Stopwatch> = None;
    loop {
        let error = match server.start(control) {
            Ok(running) => {
                let pid = control.pid().map_or(0, nix::unistd::Pid::as_raw);
                tracing::info!(pid, socket = %server.endpoint().socket().display(), "PostgreSQL is running");
                // Before `first` is answered, so that the caller of `start` sees `Running`.
                state.send_replace(State::Running { pid });
                // The caller dropped its `start` future, so no one else would stop this server.
                if first.take().is_some_and(|first| first.send(Ok(())).is_err()) {
                    control.request_stop();
                }
                lingering = None;
                let lived = Stopwatch::start();
                let died = server.wait_until_ended(running, control);
                failures = 0;
                // Restarts after a long uptime are independent incidents and need no growing pause.
                if lived.elapsed() > STABLE_UPTIME {
                    deaths = 0;
                }
                died
            }
            Err(error) => {
                failures += 1;
                error
            }
        };
        // First: when stopping, the exit of the server is expected, whatever its status.
        if control.stopping() {
            return None;
        }
        if error.passes_by_itself() {
            if lingering.get_or_insert_with(Stopwatch::start).elapsed() > LINGER {
                return Some(error);
            }
            // The server has not really been tried, so this is neither a failure nor a reason for a longer pause.
            failures = 0;
            control.pause(LINGER_PAUSE);
            continue;
        }
        deaths += 1;
        if first.is_some() || failures >= MOST_FAILURES {
            return Some(error);
        }
        tracing::warn!(%error, deaths, "restarting PostgreSQL");
        state.send_replace(State::Restarting);
        control.pause(pause_after(deaths));
    }
}

/// The pause before the next start: doubles with each exit, from 100 ms up to 5 s.
fn pause_after(deaths: u32) -> Duration {
    let factor = 1_u32.checked_shl(deaths.saturating_sub(1)).unwrap_or(u32::MAX);
    FIRST_PAUSE.saturating_mul(factor).min(LONGEST_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_a_bound() {
        let pauses: Vec<u128> = [1, 2, 3, 7, 8, 100].map(|n| pause_after(n).as_millis()).to_vec();
        assert_eq!(pauses, [100, 200, 400, 5000, 5000, 5000]);
    }
}
