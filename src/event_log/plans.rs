//! Which plans of this node's connections are outdated.
//!
//! A connection keeps the plans of its statements. For a table that PostgreSQL knows to be nearly empty, walking all of an index is as
//! good a plan as a look-up, and until autovacuum has analyzed the table, in a minute or later, nothing ends such a plan: with 100,000
//! rows, each use of it takes a tenth of a second.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The statement after which a connection plans each of its statements again when it next executes it.
pub(super) const DISCARD: &str = "discard plans";

/// The number of times that the plans of this node's connections have become outdated.
#[derive(Default)]
pub struct Plans {
    generation: AtomicU64,
}

impl Plans {
    /// The present generation.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::SeqCst)
    }

    /// Outdates the plans of all connections.
    pub(super) fn outdate(&self) {
        self.generation.fetch_add(1, Ordering::SeqCst);
    }
}

/// The plans of one connection.
pub(super) struct ConnectionPlans {
    present: Arc<Plans>,
    generation: AtomicU64,
}

impl ConnectionPlans {
    /// Those of a connection that has planned nothing yet.
    pub(super) fn of_new_connection(present: &Arc<Plans>) -> Self {
        Self { present: present.clone(), generation: AtomicU64::new(present.generation()) }
    }

    /// If they are outdated, the generation of those that the connection makes after [`DISCARD`].
    pub(super) fn outdated(&self) -> Option<u64> {
        let present = self.present.generation();
        (self.generation.load(Ordering::SeqCst) != present).then_some(present)
    }

    /// Records that the connection has discarded its plans.
    pub(super) fn discarded(&self, generation: u64) {
        self.generation.store(generation, Ordering::SeqCst);
    }
}
