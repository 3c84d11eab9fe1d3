//! Counts the decisions in flight on each set on this node, and runs them one at a time on request: near a limit, or
//! after a conflict, all concurrent decisions but one would conflict.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::OwnedMutexGuard;
use tokio::time::timeout;

/// How long a decision waits for the set's lock. After that it goes ahead without it and may conflict.
const TURN_TIMEOUT: Duration = Duration::from_secs(2);

/// The sets with decisions in flight. Clones share the same map.
#[derive(Clone, Default)]
pub(super) struct Contention(Arc<Mutex<HashMap<String, Contenders>>>);

#[derive(Clone, Default)]
struct Contenders {
    count: usize,
    turn: Arc<tokio::sync::Mutex<()>>,
}

impl Contention {
    /// Counts a decision on a set until the returned contender is dropped.
    pub(super) fn enter(&self, set: String) -> Contender {
        let mut contention = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let contenders = contention.entry(set.clone()).or_default();
        contenders.count += 1;
        Contender { contention: self.clone(), set, turn: contenders.turn.clone(), held: None }
    }
}

/// One decision in flight on a set. Dropping it ends the count and releases the lock.
pub(super) struct Contender {
    contention: Contention,
    set: String,
    turn: Arc<tokio::sync::Mutex<()>>,
    held: Option<OwnedMutexGuard<()>>,
}

impl Contender {
    /// How many decisions are in flight on the set, including this one.
    pub(super) fn count(&self) -> usize {
        let contention = self.contention.0.lock().unwrap_or_else(PoisonError::into_inner);
        contention.get(&self.set).map_or(1, |contenders| contenders.count)
    }

    /// Takes the set's lock, waiting for at most [`TURN_TIMEOUT`]. Does nothing if it is held already.
    pub(super) async fn take_turn(&mut self) {
        if self.held.is_none() {
            // A timeout is no error: the lock only saves retries, the log still checks the decision.
            self.held = timeout(TURN_TIMEOUT, self.turn.clone().lock_owned()).await.ok();
        }
    }

    /// Whether this contender counts on this set.
    pub(super) fn is_of(&self, set: &str) -> bool {
        self.set == set
    }
}

impl Drop for Contender {
    fn drop(&mut self) {
        // Unlock first: once the entry is removed, new contenders get another lock.
        self.held = None;
        let mut contention = self.contention.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(contenders) = contention.get_mut(&self.set) {
            contenders.count -= 1;
            if contenders.count == 0 {
                contention.remove(&self.set);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_crowd_is_counted_and_goes_one_after_the_other() {
        let contention = Contention::default();
        let (mut one, mut two) = (contention.enter("a".into()), contention.enter("a".into()));
        let other = contention.enter("b".into());
        assert_eq!((one.count(), two.count(), other.count()), (2, 2, 1));
        one.take_turn().await;
        let waiting = timeout(Duration::from_millis(20), two.take_turn()).await;
        assert!(waiting.is_err(), "the other contender holds the lock");
        drop(one);
        two.take_turn().await;
        assert!(two.held.is_some() && two.count() == 1);
        drop((two, other));
        assert!(contention.0.lock().unwrap().is_empty(), "no entry is left");
    }
}
