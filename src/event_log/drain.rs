//! Whether this node accepts units, or drains because another release is about to replace the projections.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::watch;

/// The advisory lock that a running rebuild holds; "tenurerb" in ASCII. `log.drop_leftover_schemas` takes it too.
pub const REBUILD_LOCK: i64 = 0x74_65_6e_75_72_65_72_62;

/// Selects from `log.head` the set that a release has announced; null if there is none, or if that release has gone or no longer says
/// so: frozen, it keeps its lock.
pub(super) fn announced() -> String {
    format!(
        "case when next_projection_set is not null and coalesce(next_set_until > clock_timestamp(), true)
                   and exists (select from pg_locks l
                               where l.locktype = 'advisory' and l.granted and l.objsubid = 1
                                 and l.database = (select oid from pg_database where datname = current_database())
                                 and (l.classid::bigint << 32 | l.objid::bigint) = {REBUILD_LOCK})
              then next_projection_set end"
    )
}

/// What a node does about an announced set of projections.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Draining {
    /// Nothing is announced.
    No,
    /// This set is announced: the node says that it is not ready, but still accepts units.
    Announced(String),
    /// New units are refused.
    Refusing(String),
}

/// Whether this node drains, and how many units it has accepted and not answered.
pub(super) struct Drain {
    pub(super) state: watch::Sender<Draining>,
    accepted: AtomicUsize,
}

/// A unit that is accepted and not answered yet.
pub(super) struct Accepted<'a>(&'a Drain);

impl Drop for Accepted<'_> {
    fn drop(&mut self) {
        self.0.accepted.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Drain {
    pub(super) fn new() -> Self {
        Self { state: watch::Sender::new(Draining::No), accepted: AtomicUsize::new(0) }
    }

    /// Accepts a unit, unless the node refuses; then it gives the announced set.
    pub(super) fn accept(&self) -> Result<Accepted<'_>, String> {
        // Counted first: whoever sees no accepted unit after refusing began knows that none will follow.
        self.accepted.fetch_add(1, Ordering::SeqCst);
        let accepted = Accepted(self);
        match &*self.state.borrow() {
            Draining::Refusing(set) => Err(set.clone()),
            Draining::No | Draining::Announced(_) => Ok(accepted),
        }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.accepted.load(Ordering::SeqCst) == 0
    }
}
