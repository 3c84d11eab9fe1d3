//! Turns at something that costs memory: so many at once on a node, and few of one caller, so that nobody takes them all.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};
use uuid::Uuid;

use super::error::DoorError;

/// Clones share the turns.
#[derive(Clone)]
pub struct Turns {
    all: Arc<Semaphore>,
    per_caller: u32,
    by_caller: Arc<Mutex<HashMap<Uuid, u32>>>,
}

/// A turn, given back when it is dropped.
pub struct Turn {
    _permit: OwnedSemaphorePermit,
    _counted: Counted,
}

/// One turn of a caller, taken or waited for.
struct Counted {
    by_caller: Arc<Mutex<HashMap<Uuid, u32>>>,
    caller: Uuid,
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut by_caller = self.by_caller.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = by_caller.get_mut(&self.caller) {
            *count -= 1;
            if *count == 0 {
                by_caller.remove(&self.caller);
            }
        }
    }
}

impl Turns {
    /// So many turns at once, and so many of one caller.
    #[must_use]
    pub fn new(at_once: usize, per_caller: u32) -> Self {
        Self { all: Arc::new(Semaphore::new(at_once)), per_caller, by_caller: Arc::default() }
    }

    /// Waits for a turn.
    ///
    /// # Errors
    /// The caller has as many as one caller may, or there is none before the deadline.
    pub async fn enter(&self, caller: Uuid, deadline: Instant) -> Result<Turn, DoorError> {
        let too_many = DoorError::TooMany { retry_after: 1 };
        // Before waiting: a caller who goes away while waiting gives it back, too.
        let Some(counted) = self.count(caller) else { return Err(too_many) };
        match timeout_at(deadline, self.all.clone().acquire_owned()).await {
            Ok(Ok(permit)) => Ok(Turn { _permit: permit, _counted: counted }),
            _ => Err(too_many),
        }
    }

    fn count(&self, caller: Uuid) -> Option<Counted> {
        let mut by_caller = self.by_caller.lock().unwrap_or_else(PoisonError::into_inner);
        let count = by_caller.entry(caller).or_default();
        if *count >= self.per_caller {
            return None;
        }
        *count += 1;
        drop(by_caller);
        Some(Counted { by_caller: self.by_caller.clone(), caller })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn caller(number: u128) -> Uuid {
        Uuid::from_u128(number)
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(5)
    }

    #[tokio::test]
    async fn one_caller_has_few_turns_and_all_together_a_bounded_number() {
        let turns = Turns::new(4, 2);
        let mut taken = Vec::new();
        for number in 0..2 {
            taken.push(turns.enter(caller(number), soon()).await.ok().unwrap());
            taken.push(turns.enter(caller(number), soon()).await.ok().unwrap());
            assert!(turns.enter(caller(number), soon()).await.is_err());
        }
        assert!(turns.enter(caller(9), Instant::now()).await.is_err(), "there is no turn in time");
        taken.pop();
        taken.push(turns.enter(caller(9), soon()).await.ok().unwrap());
        drop(taken);
        assert!(turns.by_caller.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_caller_who_stops_waiting_gives_the_turn_back() {
        let turns = Turns::new(1, 2);
        let first = turns.enter(caller(1), soon()).await.ok().unwrap();
        for _ in 0..10 {
            let waiting = turns.enter(caller(2), soon());
            assert!(futures::FutureExt::now_or_never(waiting).is_none());
        }
        drop(first);
        assert!(turns.enter(caller(2), soon()).await.is_ok());
    }
}
