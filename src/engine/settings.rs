//! The settings of an engine.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::credentials::argon2_pool;
use crate::credentials::master_key::MasterKeySource;
use crate::event_log;
use crate::operations::Rules;
use crate::postgres::Address;
use crate::postgres::migrate::Replacing;
use crate::replay::Verification;

/// The default of [`Settings::clear_every`].
pub const CLEAR_EVERY: Duration = Duration::from_secs(2);

/// What [`crate::Tenure::open`] needs to know: the database, the master key, and the limits of this node.
#[derive(Clone)]
pub struct Settings {
    /// The address of the database that holds the log.
    pub address: Address,
    /// The maximum number of connections in the pool for reads.
    pub connections: usize,
    /// Where to find the master key.
    pub master_key: MasterKeySource,
    /// The maximum number of units in the committer's queue.
    pub queue: usize,
    /// How long a command waits for its outcome before it fails.
    pub answer_within: Duration,
    /// The maximum number of secrets that are being hashed or waiting to be hashed.
    pub hash_queue: usize,
    /// The file with the list of forgotten users, outside the database; `None` keeps no list.
    pub forgotten_list: Option<PathBuf>,
    /// The business rules that an instance can configure.
    pub rules: Rules,
    /// How often the engine looks for rows left behind by ended accounts, users and memberships, to clear them away.
    pub clear_every: Duration,
    /// How often this node compares the projections with the log; `None` for never.
    pub audit_every: Option<Duration>,
    /// How long to wait, before projections of another release are replaced, for transactions that hold locks on them.
    pub swap_wait: Duration,
    /// How long to wait for nodes of another release to stop writing, before their projections are replaced.
    pub drain_timeout: Duration,
    /// How long another node that is replacing the projections may do nothing before a start gives up waiting for it.
    pub stalled_after: Duration,
    /// When to replace projections of another release.
    pub replacing: Replacing,
    /// What to do about differences that are found when projections of another release are replaced.
    pub verification: Verification,
    /// Called with the number of events done and the total while the projections of another release are replaced.
    pub progress: Option<Arc<dyn Fn(u64, u64) + Send + Sync>>,
}

impl Settings {
    /// The default settings for this database and this master key.
    #[must_use]
    pub fn new(address: Address, master_key: MasterKeySource) -> Self {
        Self {
            address,
            connections: 16,
            master_key,
            queue: 4_096,
            answer_within: event_log::ANSWER_TIMEOUT,
            hash_queue: argon2_pool::MAX_QUEUED,
            forgotten_list: None,
            rules: Rules::default(),
            clear_every: CLEAR_EVERY,
            audit_every: None,
            swap_wait: Duration::from_mins(10),
            drain_timeout: Duration::from_mins(1),
            stalled_after: Duration::from_mins(10),
            replacing: Replacing::default(),
            verification: Verification::Strict,
            progress: None,
        }
    }
}
