//! Failed attempts at API keys, counted by caller, network and key prefix.
//!
//! Never by prefix alone: prefixes are public, so a stranger could lock out the key's owner.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use uuid::Uuid;

use super::settings::{PRUNE_ABOVE, PRUNE_EVERY};
use crate::clock::Timestamp;
use crate::http::error::ApiError;
use crate::operations::network_of;

/// How long failures are counted, in microseconds: ten minutes.
const FAILURE_WINDOW: i64 = 600_000_000;

/// The caller who verifies the key (empty if anonymous), the network, and the key's prefix.
type FailureKey = (String, String, String);

/// The failed attempts on one node.
pub(super) struct KeyFailures {
    /// When the first failure of the window was counted, and how many there have been since.
    counts: Mutex<HashMap<FailureKey, (Timestamp, u32)>>,
    max: u32,
    /// The clock of the newest attempt in microseconds: pruning has no clock of its own.
    newest_attempt: AtomicI64,
}

/// An API-key attempt. Counts as a failure when dropped, unless cancelled.
pub struct KeyAttempt<'a> {
    failures: &'a KeyFailures,
    key: FailureKey,
    now: Timestamp,
    failed: bool,
}

impl KeyAttempt<'_> {
    /// The key was right, or the attempt revealed nothing about it: count no failure.
    pub fn cancel(mut self) {
        self.failed = false;
    }
}

impl Drop for KeyAttempt<'_> {
    fn drop(&mut self) {
        if !self.failed {
            return;
        }
        // Counted on drop, so that a client that disconnects before the answer does not guess for free.
        let mut counts = self.failures.lock();
        let (since, count) = counts.entry(self.key.clone()).or_insert((self.now, 0));
        if window_elapsed(*since, self.now) {
            (*since, *count) = (self.now, 0);
        }
        *count = count.saturating_add(1);
    }
}

const fn window_elapsed(since: Timestamp, now: Timestamp) -> bool {
    now.as_micros() - since.as_micros() >= FAILURE_WINDOW
}

impl KeyFailures {
    pub(super) fn new(max: u32) -> Self {
        Self { counts: Mutex::default(), max, newest_attempt: AtomicI64::new(0) }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<FailureKey, (Timestamp, u32)>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn len(&self) -> usize {
        self.lock().len()
    }

    /// Begins an attempt, unless too many with this prefix have failed.
    ///
    /// Attempts that wait for a hashing thread are not counted yet; the queue per prefix is bounded, so only a
    /// few can exceed the limit.
    pub(super) fn attempt(
        &self,
        by: Option<Uuid>,
        from: IpAddr,
        prefix: &str,
        now: Timestamp,
    ) -> Result<KeyAttempt<'_>, ApiError> {
        let by = by.map_or_else(String::new, |caller| caller.to_string());
        let key = (by, network_of(from), prefix.to_owned());
        self.newest_attempt.fetch_max(now.as_micros(), Ordering::Relaxed);
        let counts = self.lock();
        match counts.get(&key) {
            Some((since, count)) if *count >= self.max && !window_elapsed(*since, now) => {
                let left = FAILURE_WINDOW - (now.as_micros() - since.as_micros());
                let retry_after = u64::try_from(left / 1_000_000 + 1).unwrap_or(1);
                Err(ApiError::TooMany { retry_after })
            }
            // An attacker can fill the table with made-up prefixes: refuse new ones until old failures expire.
            None if counts.len() > PRUNE_ABOVE => {
                Err(ApiError::TooMany { retry_after: PRUNE_EVERY.as_secs() })
            }
            _ => Ok(KeyAttempt { failures: self, key, now, failed: true }),
        }
    }

    pub(super) fn prune(&self) {
        let now = Timestamp::from_micros(self.newest_attempt.load(Ordering::Relaxed));
        self.lock().retain(|_, (since, _)| !window_elapsed(*since, now));
    }
}
