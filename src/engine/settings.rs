//! How an engine is opened.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::credentials::argon2_pool;
use crate::credentials::master_key::MasterKeySource;
use crate::event_log;
use crate::operations::Rules;
use crate::postgres::Address;

/// How often endings are looked for, if nothing else is set.
const CLEAR_EVERY: Duration = Duration::from_secs(2);

/// How an engine is opened.
#[derive(Clone)]
pub struct Settings {
    /// The database.
    pub address: Address,
    /// The most connections of the reading pool.
    pub connections: usize,
    /// Where the master key is.
    pub master_key: MasterKeySource,
    /// How many units may wait for the committer.
    pub queue: usize,
    /// How long a command waits for its outcome.
    pub answer_within: Duration,
    /// How many secrets may be hashed or wait for it.
    pub hash_queue: usize,
    /// Where the list of the forgotten is kept, outside the database; `None`: nowhere.
    pub forgotten_list: Option<PathBuf>,
    /// What is not left to the code.
    pub rules: Rules,
    /// How often the engine looks for what ended accounts, people and memberships have left behind, to clear it away.
    pub clear_every: Duration,
    /// Told how many events are done of how many, while the projections of another release are replaced.
    pub progress: Option<Arc<dyn Fn(u64, u64) + Send + Sync>>,
}

impl Settings {
    /// The defaults for this database and this master key.
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
            progress: None,
        }
    }
}
