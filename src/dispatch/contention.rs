//! How many decisions on one set are under way on this node: a bound that is far away for one is near for many, and near the
//! bound they go one after the other instead of all but one in vain.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::OwnedMutexGuard;
use tokio::time::timeout;

/// How long a decision waits for its turn at most: then it is made at the risk of being made in vain.
const TURN_TIMEOUT: Duration = Duration::from_secs(2);

/// The sets on which decisions are under way.
#[derive(Clone, Default)]
pub(super) struct Contention(Arc<Mutex<HashMap<String, Contenders>>>);

#[derive(Clone, Default)]
struct Contenders {
    contender: usize,
    turn: Arc<tokio::sync::Mutex<()>>,
}

impl Contention {
    /// Counts a decision on a set from now on until what is given is dropped.
    pub(super) fn enter(&self, set: String) -> Contender {
        let mut contention = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let contenders = contention.entry(set.clone()).or_default();
        contenders.contender += 1;
        Contender { contention: self.clone(), set, turn: contenders.turn.clone(), held: None }
    }
}

/// A decision on a set that is under way.
pub(super) struct Contender {
    contention: Contention,
    set: String,
    turn: Arc<tokio::sync::Mutex<()>>,
    held: Option<OwnedMutexGuard<()>>,
}

impl Contender {
    /// How many are under way, this one counted.
    pub(super) fn count(&self) -> usize {
        let contention = self.contention.0.lock().unwrap_or_else(PoisonError::into_inner);
        contention.get(&self.set).map_or(1, |contenders| contenders.contender)
    }

    /// Waits until those of this node that decide on the set in turn are done.
    pub(super) async fn take_turn(&mut self) {
        if self.held.is_none() {
            self.held = timeout(TURN_TIMEOUT, self.turn.clone().lock_owned()).await.ok();
        }
    }

    /// Whether it is of this set.
    pub(super) fn is_of(&self, set: &str) -> bool {
        self.set == set
    }
}

impl Drop for Contender {
    fn drop(&mut self) {
        self.held = None;
        let mut contention = self.contention.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(contenders) = contention.get_mut(&self.set) {
            contenders.contender -= 1;
            if contenders.contender == 0 {
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
        assert!(waiting.is_err(), "the other one has the turn");
        drop(one);
        two.take_turn().await;
        assert!(two.held.is_some() && two.count() == 1);
        drop((two, other));
        assert!(contention.0.lock().unwrap().is_empty(), "nothing is left of them");
    }
}
