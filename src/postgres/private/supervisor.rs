//! The thread that starts the server, starts it again when it dies, and lives as long as it does.

use std::time::Duration;

use tokio::sync::{oneshot, watch};

use super::control::Control;
use super::error::PrivatePostgresError;
use super::server::Server;
use super::settings::{Endpoint, Options, State};
use crate::clock::Stopwatch;

/// After so many starts in a row that failed the server is given up; one that took connections and died is started again
/// for as long as it does.
const MOST_FAILURES: u32 = 8;

/// A life as long as this makes earlier deaths forgotten: the next start does not wait.
const STABLE_UPTIME: Duration = Duration::from_mins(1);

/// How long processes of an earlier server may linger, and how often they are looked at.
const LINGER: Duration = Duration::from_mins(1);
const LINGER_PAUSE: Duration = Duration::from_millis(200);

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Where the first start is answered.
type First = oneshot::Sender<Result<Endpoint, PrivatePostgresError>>;

/// Runs the server until it is asked to stop or has failed for good; the lock is released before the last state is
/// told.
pub(super) fn supervise(options: &Options, control: &Control, state: &watch::Sender<State>, first: First) {
    let server = match Server::prepare(options, control) {
        Ok(server) => server,
        Err(error) => return refuse(error, state, first),
    };
    let mut first = Some(first);
    let end = keep_alive(&server, control, state, &mut first);
    drop(server);
    match (end, first) {
        (Some(error), Some(first)) => refuse(error, state, first),
        (Some(error), None) => {
            tracing::error!(%error, "PostgreSQL is given up");
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
        tracing::debug!("nobody waits for PostgreSQL any more");
    }
}

/// Returns when it is asked to stop, or with the last failure. The first start gets one try, unless only processes
/// of an earlier server are in the way.
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
            Ok(ttl) => {
                let pid = control.pid().map_or(0, nix::unistd::Pid::as_raw);
                tracing::info!(pid, socket = %server.endpoint().socket().display(), "PostgreSQL runs");
                state.send_replace(State::Running { pid });
                if first.take().is_some_and(|first| first.send(Ok(server.endpoint().clone())).is_err()) {
                    control.request_stop();
                }
                lingering = None;
                let lived = Stopwatch::start();
                let died = server.outlive(ttl, control);
                failures = 0;
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
        if control.stopping() {
            return None;
        }
        if error.passes_by_itself() {
            if lingering.get_or_insert_with(Stopwatch::start).elapsed() > LINGER {
                return Some(error);
            }
            failures = 0;
            control.pause(LINGER_PAUSE);
            continue;
        }
        deaths += 1;
        if first.is_some() || failures >= MOST_FAILURES {
            return Some(error);
        }
        tracing::warn!(%error, deaths, "PostgreSQL is started again");
        state.send_replace(State::Restarting);
        control.pause(pause_after(deaths));
    }
}

/// Doubles from death to death, up to a bound.
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
