//! How many decisions on one set are under way on this node: a bound that is far away for one is near for many, and near the
//! bound they go one after the other instead of all but one in vain.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::OwnedMutexGuard;
use tokio::time::timeout;

/// How long a decision waits for its turn at most: then it is made at the risk of being made in vain.
const TURN_WITHIN: Duration = Duration::from_secs(2);

/// The sets on which decisions are under way.
#[derive(Clone, Default)]
pub(super) struct Crowds(Arc<Mutex<HashMap<String, Crowd>>>);

#[derive(Clone, Default)]
struct Crowd {
    inside: usize,
    turn: Arc<tokio::sync::Mutex<()>>,
}

impl Crowds {
    /// Counts a decision on a set from now on until what is given is dropped.
    pub(super) fn enter(&self, set: String) -> Inside {
        let mut crowds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let crowd = crowds.entry(set.clone()).or_default();
        crowd.inside += 1;
        Inside { crowds: self.clone(), set, turn: crowd.turn.clone(), held: None }
    }
}

/// A decision on a set that is under way.
pub(super) struct Inside {
    crowds: Crowds,
    set: String,
    turn: Arc<tokio::sync::Mutex<()>>,
    held: Option<OwnedMutexGuard<()>>,
}

impl Inside {
    /// How many are under way, this one counted.
    pub(super) fn count(&self) -> usize {
        let crowds = self.crowds.0.lock().unwrap_or_else(PoisonError::into_inner);
        crowds.get(&self.set).map_or(1, |crowd| crowd.inside)
    }

    /// Waits until those of this node that decide on the set in turn are done.
    pub(super) async fn take_turn(&mut self) {
        if self.held.is_none() {
            self.held = timeout(TURN_WITHIN, self.turn.clone().lock_owned()).await.ok();
        }
    }

    /// Whether it is of this set.
    pub(super) fn is_of(&self, set: &str) -> bool {
        self.set == set
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        self.held = None;
        let mut crowds = self.crowds.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(crowd) = crowds.get_mut(&self.set) {
            crowd.inside -= 1;
            if crowd.inside == 0 {
                crowds.remove(&self.set);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_crowd_is_counted_and_goes_one_after_the_other() {
        let crowds = Crowds::default();
        let (mut one, mut two) = (crowds.enter("a".into()), crowds.enter("a".into()));
        let other = crowds.enter("b".into());
        assert_eq!((one.count(), two.count(), other.count()), (2, 2, 1));
        one.take_turn().await;
        let waiting = timeout(Duration::from_millis(20), two.take_turn()).await;
        assert!(waiting.is_err(), "the other one has the turn");
        drop(one);
        two.take_turn().await;
        assert!(two.held.is_some() && two.count() == 1);
        drop((two, other));
        assert!(crowds.0.lock().unwrap().is_empty(), "nothing is left of them");
    }
}
