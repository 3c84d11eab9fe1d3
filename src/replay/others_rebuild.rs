//! Waits for the rebuild of another node.

use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::error::ReplayError;
use super::parts::Replay;
use super::rebuild::RebuildError;
use super::session::{REBUILDING, REPLAYING};
use crate::clock::Stopwatch;
use crate::event_log::PrimaryError;
use crate::event_log::drain::REBUILD_LOCK;
use crate::postgres::STATEMENT_TIMEOUT;

/// How often a node looks whether another one has replaced the projections.
const OTHER_POLL: Duration = Duration::from_millis(200);

/// How often it says that it still waits.
const SAY_EVERY: Duration = Duration::from_secs(5);

impl Replay {
    /// Waits until no rebuild runs any more.
    ///
    /// # Errors
    /// [`RebuildError::Running`] if the one that runs does nothing for this long, or if it cannot be seen whether it does: its process may be
    /// frozen.
    pub(crate) async fn wait_for_other(&self, stalled_after: Duration) -> Result<(), RebuildError> {
        let sql = format!(
            "select format('process %s, %s', a.pid, a.application_name),
                    coalesce((select max(case when s.state = 'active' and s.wait_event_type is distinct from 'Client'
                                              then clock_timestamp() else s.state_change end)
                              from pg_stat_activity s
                              where s.datname = a.datname and s.application_name in ('{REBUILDING}', '{REPLAYING}'))
                             < clock_timestamp() - make_interval(secs => $1), $2)
             from pg_locks l join pg_stat_activity a on a.pid = l.pid
             where l.locktype = 'advisory' and l.granted and l.objsubid = 1 and a.datname = current_database()
               and (l.classid::bigint << 32 | l.objid::bigint) = {REBUILD_LOCK}"
        );
        // As the login: a role that it has switched to sees no states of its sessions.
        let login = self.log.database().with_role(None);
        let connection = login.connect("tenure watch", "").await.map_err(ReplayError::from)?;
        let client = &connection.client;
        let timed_out = |_| ReplayError::from(PrimaryError::TimedOut(STATEMENT_TIMEOUT));
        let (waiting, mut said) = (Stopwatch::start(), Stopwatch::start());
        loop {
            let seconds = stalled_after.as_secs_f64();
            // What the sessions of another login do is hidden from this one.
            let is_late = waiting.elapsed() >= stalled_after;
            let asked = timeout(STATEMENT_TIMEOUT, client.query_opt(&sql, &[&seconds, &is_late])).await;
            let Some(row) = asked.map_err(timed_out)?.map_err(ReplayError::from)? else { return Ok(()) };
            let holder: String = row.try_get(0).map_err(ReplayError::from)?;
            if row.try_get(1).map_err(ReplayError::from)? {
                return Err(RebuildError::Running(holder));
            }
            if said.elapsed() >= SAY_EVERY {
                tracing::warn!(holder, "another node is rebuilding the projections; waiting for it");
                said = Stopwatch::start();
            }
            sleep(OTHER_POLL).await;
        }
    }
}
