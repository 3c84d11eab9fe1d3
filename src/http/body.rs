//! The bodies of requests: bounded by route and in time, and the long ones in number.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::http::{HeaderMap, header};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use super::caller::Caller;
use super::error::DoorError;

/// The most bytes of a body where the route does not say otherwise.
pub const MAX_BODY: usize = 8 * 1_024;

/// The most bytes of a long body: a broadcast's payload, escaped, or 10,000 identifiers.
pub const MAX_LONG_BODY: usize = 512 * 1_024;

/// How long a body may take to come, and to wait for its turn.
pub const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// How many long bodies a node holds at once, and how many of them are one caller's: 32 MiB in all.
const LONG_BODIES: usize = 64;
const LONG_BODIES_PER_CALLER: u32 = 8;

/// The bodies that are longer than [`MAX_BODY`] and are being read.
pub struct LongBodies {
    all: Arc<Semaphore>,
    by_caller: Mutex<HashMap<uuid::Uuid, u32>>,
}

/// A place among the long bodies, given back when it is dropped.
struct Place<'a> {
    bodies: &'a LongBodies,
    caller: uuid::Uuid,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.bodies.leave(self.caller);
    }
}

impl Default for LongBodies {
    fn default() -> Self {
        Self { all: Arc::new(Semaphore::new(LONG_BODIES)), by_caller: Mutex::default() }
    }
}

impl LongBodies {
    async fn enter(&self, caller: uuid::Uuid, deadline: Instant) -> Result<Place<'_>, DoorError> {
        let too_many = DoorError::TooMany { retry_after: 1 };
        {
            let mut by_caller = self.by_caller.lock().unwrap_or_else(PoisonError::into_inner);
            let held = by_caller.entry(caller).or_default();
            if *held >= LONG_BODIES_PER_CALLER {
                return Err(too_many);
            }
            *held += 1;
        }
        if let Ok(Ok(permit)) = timeout_at(deadline, self.all.clone().acquire_owned()).await {
            Ok(Place { bodies: self, caller, _permit: permit })
        } else {
            self.leave(caller);
            Err(too_many)
        }
    }

    fn leave(&self, caller: uuid::Uuid) {
        let mut by_caller = self.by_caller.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(held) = by_caller.get_mut(&caller) {
            *held -= 1;
            if *held == 0 {
                by_caller.remove(&caller);
            }
        }
    }
}

/// A body of at most `limit` bytes, whole, in time.
///
/// # Errors
/// It is too long, too slow, or breaks off.
pub async fn read(body: Body, headers: &HeaderMap, limit: usize) -> Result<Bytes, DoorError> {
    read_until(body, headers, limit, Instant::now() + BODY_TIMEOUT).await
}

/// A body of at most `limit` bytes of somebody known; one that may be longer than [`MAX_BODY`] waits until there is room.
///
/// # Errors
/// As [`read`], or too many long ones are being read.
pub async fn read_known(
    body: Body,
    headers: &HeaderMap,
    limit: usize,
    caller: Caller,
    bodies: &LongBodies,
) -> Result<Bytes, DoorError> {
    let deadline = Instant::now() + BODY_TIMEOUT;
    let is_short = limit <= MAX_BODY || length(headers).is_some_and(|length| length <= MAX_BODY as u64);
    let _place = match caller.id() {
        Some(id) if !is_short => {
            refuse_longer(headers, limit)?;
            Some(bodies.enter(id, deadline).await?)
        }
        _ => None,
    };
    read_until(body, headers, if is_short { MAX_BODY } else { limit }, deadline).await
}

async fn read_until(
    body: Body,
    headers: &HeaderMap,
    limit: usize,
    deadline: Instant,
) -> Result<Bytes, DoorError> {
    refuse_longer(headers, limit)?;
    match timeout_at(deadline, to_bytes(body, limit)).await {
        Err(_) => Err(DoorError::TooSlow),
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(error)) => {
            let too_large = std::error::Error::source(&error)
                .is_some_and(<dyn std::error::Error>::is::<http_body_util::LengthLimitError>);
            Err(if too_large { DoorError::TooLarge } else { DoorError::malformed("the body broke off") })
        }
    }
}

/// What a request says of the length of its body; the server holds it to that.
fn length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn refuse_longer(headers: &HeaderMap, limit: usize) -> Result<(), DoorError> {
    if length(headers).is_some_and(|length| length > limit as u64) {
        Err(DoorError::TooLarge)
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_caller_holds_few_long_bodies_and_all_together_a_bounded_number() {
        let bodies = LongBodies::default();
        let soon = Instant::now() + Duration::from_millis(100);
        let mut places = Vec::new();
        for caller in 0..8_u128 {
            for _ in 0..LONG_BODIES_PER_CALLER {
                places.push(bodies.enter(uuid::Uuid::from_u128(caller), soon).await.unwrap());
            }
            assert!(bodies.enter(uuid::Uuid::from_u128(caller), soon).await.is_err());
        }
        let other = uuid::Uuid::from_u128(99);
        assert!(bodies.enter(other, Instant::now()).await.is_err(), "there is no room in time");
        places.pop();
        assert!(bodies.enter(other, Instant::now() + BODY_TIMEOUT).await.is_ok());
        drop(places);
        assert!(bodies.by_caller.lock().unwrap().is_empty(), "nobody is remembered who holds none");
    }
}
