//! A semaphore that bounds concurrent work per node and per caller, so that one caller cannot take every permit.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};
use uuid::Uuid;

use super::error::ApiError;

/// A semaphore with a bound for all callers together and a smaller one for each.
pub struct FairSemaphore {
    all: Arc<Semaphore>,
    per_caller: usize,
    callers: Callers,
}

/// The callers that hold or await a permit: each with its own semaphore, and the number of its requests.
type Callers = Arc<Mutex<HashMap<Uuid, (Arc<Semaphore>, usize)>>>;

/// A permit, released when it is dropped.
pub struct Permit {
    _own: OwnedSemaphorePermit,
    _shared: OwnedSemaphorePermit,
    _request: Request,
}

/// A request that holds or awaits a permit. The last one of a caller removes the caller's entry, so that the table
/// stays small.
struct Request {
    callers: Callers,
    caller: Uuid,
}

impl Drop for Request {
    fn drop(&mut self) {
        let mut callers = self.callers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, requests)) = callers.get_mut(&self.caller) {
            *requests -= 1;
            if *requests == 0 {
                callers.remove(&self.caller);
            }
        }
    }
}

impl FairSemaphore {
    /// At most `at_once` permits on this node, and at most `per_caller` of them for one caller.
    #[must_use]
    pub fn new(at_once: usize, per_caller: usize) -> Self {
        Self { all: Arc::new(Semaphore::new(at_once)), per_caller, callers: Arc::default() }
    }

    /// Waits for a permit.
    ///
    /// # Errors
    /// [`ApiError::TooMany`] if none is free before the deadline.
    pub async fn acquire(&self, caller: Uuid, deadline: Instant) -> Result<Permit, ApiError> {
        // `request` is counted before the wait and dropped with it, so a caller who gives up leaves no entry behind.
        let (own, request) = self.request(caller);
        let entering = async {
            // The caller's own permit first: then a caller has at most `per_caller` requests in the shared queue.
            let own = own.acquire_owned().await.ok()?;
            let shared = self.all.clone().acquire_owned().await.ok()?;
            Some((own, shared))
        };
        let entered = timeout_at(deadline, entering).await.ok().flatten();
        let (own, shared) = entered.ok_or(ApiError::TooMany { retry_after: 1 })?;
        Ok(Permit { _own: own, _shared: shared, _request: request })
    }

    fn request(&self, caller: Uuid) -> (Arc<Semaphore>, Request) {
        let mut callers = self.callers.lock().unwrap_or_else(PoisonError::into_inner);
        let (own, requests) =
            callers.entry(caller).or_insert_with(|| (Arc::new(Semaphore::new(self.per_caller)), 0));
        *requests += 1;
        (own.clone(), Request { callers: self.callers.clone(), caller })
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
        let permits = FairSemaphore::new(4, 2);
        let mut taken = Vec::new();
        for number in 0..2 {
            taken.push(permits.acquire(caller(number), soon()).await.ok().unwrap());
            taken.push(permits.acquire(caller(number), soon()).await.ok().unwrap());
            assert!(permits.acquire(caller(number), Instant::now()).await.is_err());
        }
        assert!(permits.acquire(caller(9), Instant::now()).await.is_err(), "there is no permit in time");
        taken.pop();
        taken.push(permits.acquire(caller(9), soon()).await.ok().unwrap());
        drop(taken);
        assert!(permits.callers.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_caller_waits_for_a_turn_of_their_own() {
        let permits = FairSemaphore::new(4, 1);
        let first = permits.acquire(caller(1), soon()).await.ok().unwrap();
        let mut second = Box::pin(permits.acquire(caller(1), soon()));
        assert!(futures::FutureExt::now_or_never(second.as_mut()).is_none());
        assert!(permits.acquire(caller(2), soon()).await.is_ok(), "others do not wait for them");
        drop(first);
        assert!(second.await.is_ok());
    }

    #[tokio::test]
    async fn a_caller_who_stops_waiting_returns_the_permit() {
        let permits = FairSemaphore::new(1, 2);
        let first = permits.acquire(caller(1), soon()).await.ok().unwrap();
        for _ in 0..10 {
            let waiting = permits.acquire(caller(2), soon());
            assert!(futures::FutureExt::now_or_never(waiting).is_none());
        }
        drop(first);
        assert!(permits.acquire(caller(2), soon()).await.is_ok());
    }
}
