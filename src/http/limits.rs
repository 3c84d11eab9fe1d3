//! How often a door may be used on this node: by address without a credential, by credential, by tenant. What guards
//! the log across nodes is in the engine.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, Method};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use governor::clock::{Clock as _, DefaultClock};
use governor::middleware::StateInformationMiddleware;
use governor::state::keyed::DashMapStateStore;
use governor::{Quota, RateLimiter};
use secrecy::SecretString;

use super::caller::Caller;
use super::door::Shared;
use super::error::DoorError;
use super::look_ups::{LookUp, LookUps};
use super::origin::Origin;
use crate::clock::{Stopwatch, Timestamp};
use crate::ids::AccountId;
use crate::operations::network_of;

/// So many at once, and then so many a second.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    /// How many at once.
    pub burst: u32,
    /// How many a second from then on.
    pub per_second: u32,
}

impl Rate {
    const fn new(burst: u32, per_second: u32) -> Self {
        Self { burst, per_second }
    }

    fn quota(self) -> Quota {
        let at_least_one = |count: u32| NonZeroU32::new(count).unwrap_or(NonZeroU32::MIN);
        Quota::per_second(at_least_one(self.per_second)).allow_burst(at_least_one(self.burst))
    }
}

/// How often the doors may be used.
#[derive(Clone, Copy, Debug)]
pub struct Rates {
    /// Requests without a credential, or with a bad one, from one address (IPv6: one /64).
    pub anonymous: Rate,
    /// Requests of one person, or of one key.
    pub credential: Rate,
    /// Those of them that change something.
    pub commands: Rate,
    /// Requests about one account.
    pub tenant: Rate,
    /// Bad keys with one prefix from one address within ten minutes.
    pub key_failures: u32,
}

impl Default for Rates {
    fn default() -> Self {
        Self {
            anonymous: Rate::new(1_000, 100),
            credential: Rate::new(40_000, 20_000),
            commands: Rate::new(10_000, 1_000),
            tenant: Rate::new(40_000, 20_000),
            key_failures: 10,
        }
    }
}

type Keyed<K> = RateLimiter<K, DashMapStateStore<K>, DefaultClock, StateInformationMiddleware>;

/// How many buckets are kept before those that are full again are thrown away.
const MANY: usize = 100_000;

/// How often that is looked at.
const TIDY_EVERY: Duration = Duration::from_secs(1);

/// For how long bad keys are counted, in microseconds.
const FAILURES_WITHIN: i64 = 600_000_000;

/// Bad keys: by who asks (nobody, or whoever verifies somebody else's), from where, with which prefix.
type Failures = (String, String, String);

/// The limits of one node.
pub struct Limiter {
    anonymous: Keyed<String>,
    credential: Keyed<uuid::Uuid>,
    commands: Keyed<uuid::Uuid>,
    tenant: Keyed<AccountId>,
    key_failures: Mutex<HashMap<Failures, (Timestamp, u32)>>,
    most_key_failures: u32,
    newest_try: AtomicI64,
    tidied: Mutex<Option<Stopwatch>>,
    look_ups: LookUps,
}

/// A try at a key: a failure unless it is said to be none.
pub struct KeyTry<'a> {
    limiter: &'a Limiter,
    bucket: Failures,
    now: Timestamp,
    failed: bool,
}

impl KeyTry<'_> {
    /// The key was right, or nothing was learnt of it.
    pub fn was_none(mut self) {
        self.failed = false;
    }
}

impl Drop for KeyTry<'_> {
    fn drop(&mut self) {
        if !self.failed {
            return;
        }
        let (limiter, now) = (self.limiter, self.now);
        let mut failures = limiter.key_failures.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, count) = failures.entry(self.bucket.clone()).or_insert((now, 0));
        if over(*since, now) {
            (*since, *count) = (now, 0);
        }
        *count = count.saturating_add(1);
    }
}

/// What a bucket says of itself.
struct Left {
    limit: u32,
    remaining: u32,
    reset: u64,
}

/// What a request's bucket has said, for the answer's headers.
#[derive(Clone, Default)]
pub struct Told(Arc<Mutex<Option<Left>>>);

impl Told {
    fn tell(&self, left: Result<Left, u64>) -> Result<(), DoorError> {
        let (left, outcome) = match left {
            Ok(left) => (left, Ok(())),
            Err(retry_after) => {
                let left = Left { limit: 0, remaining: 0, reset: retry_after };
                (left, Err(DoorError::TooMany { retry_after }))
            }
        };
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(left);
        outcome
    }
}

fn keyed<K: std::hash::Hash + Eq + Clone>(rate: Rate) -> Keyed<K> {
    RateLimiter::dashmap_with_hasher(rate.quota(), std::hash::RandomState::default())
        .with_middleware::<StateInformationMiddleware>()
}

fn check<K: std::hash::Hash + Eq + Clone>(limiter: &Keyed<K>, key: &K) -> Result<Left, u64> {
    match limiter.check_key(key) {
        Ok(state) => {
            let (limit, remaining) = (state.quota().burst_size().get(), state.remaining_burst_capacity());
            let used = limit.saturating_sub(remaining);
            let reset = (state.quota().replenish_interval() * used).as_secs_f64().ceil();
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
            Ok(Left { limit, remaining, reset: reset as u64 })
        }
        Err(not_until) => {
            let wait = not_until.wait_time_from(DefaultClock::default().now());
            Err(wait.as_secs().saturating_add(1))
        }
    }
}

/// Routes that are asked by POST, because what they are asked about does not belong into a URL, and change nothing.
const QUESTIONS: [&str; 2] = ["/api/v1/keys/verify", "/api/v1/usernames"];

/// Whether a request wants to change something.
pub fn commands(method: &Method, route: Option<&str>) -> bool {
    !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
        && !route.is_some_and(|route| QUESTIONS.contains(&route))
}

/// Whether bad keys that are counted since then count no longer.
const fn over(since: Timestamp, now: Timestamp) -> bool {
    now.as_micros() - since.as_micros() >= FAILURES_WITHIN
}

impl Limiter {
    /// The limits at these rates.
    #[must_use]
    pub fn new(rates: &Rates) -> Self {
        Self {
            anonymous: keyed(rates.anonymous),
            credential: keyed(rates.credential),
            commands: keyed(rates.commands),
            tenant: keyed(rates.tenant),
            key_failures: Mutex::default(),
            most_key_failures: rates.key_failures,
            newest_try: AtomicI64::new(0),
            tidied: Mutex::new(None),
            look_ups: LookUps::new(rates.anonymous, MANY),
        }
    }

    /// One request about an account.
    ///
    /// # Errors
    /// Too many.
    pub fn tenant(&self, account: AccountId) -> Result<(), DoorError> {
        check(&self.tenant, &account).map(|_| ()).map_err(|retry_after| DoorError::TooMany { retry_after })
    }

    /// One request of nobody known, or with a credential that is bad.
    ///
    /// # Errors
    /// Too many.
    pub fn anonymous(&self, from: Origin, told: &Told) -> Result<(), DoorError> {
        self.tidy();
        told.tell(check(&self.anonymous, &network_of(from.0)))
    }

    /// A secret is to be looked up for this caller.
    ///
    /// # Errors
    /// Too many from this address were bad.
    pub fn look_up(&self, secret: &SecretString, by: Caller, from: Origin) -> Result<LookUp<'_>, DoorError> {
        let network = (by == Caller::Anonymous).then(|| network_of(from.0));
        self.look_ups.look_up(secret, network)
    }

    /// One request of this caller, by a credential that is good.
    ///
    /// # Errors
    /// Too many.
    pub fn caller(&self, caller: Caller, from: Origin, commands: bool, told: &Told) -> Result<(), DoorError> {
        let Some(actor) = caller.id() else { return self.anonymous(from, told) };
        self.tidy();
        told.tell(check(&self.credential, &actor))?;
        if commands { told.tell(check(&self.commands, &actor)) } else { Ok(()) }
    }

    /// A try at a key with this prefix: not after many bad ones. Unless it is said to have been none, it counts as a
    /// failure, also when whoever asked does not wait for the answer.
    ///
    /// Those that wait for their turn at this moment are not counted yet: the line for a prefix is bounded.
    ///
    /// # Errors
    /// Too many bad ones.
    pub fn try_key(
        &self,
        by: Caller,
        from: Origin,
        prefix: &str,
        now: Timestamp,
    ) -> Result<KeyTry<'_>, DoorError> {
        let by = by.id().map_or_else(String::new, |actor| actor.to_string());
        let bucket = (by, network_of(from.0), prefix.to_owned());
        self.newest_try.fetch_max(now.as_micros(), Ordering::Relaxed);
        let failures = self.key_failures.lock().unwrap_or_else(PoisonError::into_inner);
        match failures.get(&bucket) {
            Some((since, count)) if *count >= self.most_key_failures && !over(*since, now) => {
                let left = FAILURES_WITHIN - (now.as_micros() - since.as_micros());
                let retry_after = u64::try_from(left / 1_000_000 + 1).unwrap_or(1);
                Err(DoorError::TooMany { retry_after })
            }
            // Somebody fills the memory of failures: new ones wait until old ones are over.
            None if failures.len() > MANY => Err(DoorError::TooMany { retry_after: TIDY_EVERY.as_secs() }),
            _ => Ok(KeyTry { limiter: self, bucket, now, failed: true }),
        }
    }

    /// Throws away buckets that are full again, when there are many; a second apart, so that whoever makes many does not
    /// make every request pay for it.
    fn tidy(&self) {
        let failures = self.key_failures.lock().unwrap_or_else(PoisonError::into_inner).len();
        let lengths = [
            self.anonymous.len(),
            self.credential.len(),
            self.commands.len(),
            self.tenant.len(),
            self.look_ups.len(),
            failures,
        ];
        if lengths.iter().all(|length| *length <= MANY) {
            return;
        }
        let Ok(mut tidied) = self.tidied.try_lock() else { return };
        if tidied.is_none_or(|tidied| tidied.elapsed() >= TIDY_EVERY) {
            self.anonymous.retain_recent();
            self.credential.retain_recent();
            self.commands.retain_recent();
            self.tenant.retain_recent();
            self.look_ups.prune();
            let now = self.newest_try.load(Ordering::Relaxed);
            let mut failures = self.key_failures.lock().unwrap_or_else(PoisonError::into_inner);
            failures.retain(|_, (since, _)| !over(*since, Timestamp::from_micros(now)));
            *tidied = Some(Stopwatch::start());
        }
    }
}

const LIMIT: HeaderName = HeaderName::from_static("ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("ratelimit-remaining");
const RESET: HeaderName = HeaderName::from_static("ratelimit-reset");

/// Lets a request of nobody known pass if the bucket of its address is not empty, and says how full that is.
pub async fn by_address(State(door): State<Shared>, request: Request, next: Next) -> Response {
    let from = Origin::of(request.extensions(), request.headers(), &door.settings.trusted_proxies);
    let told = Told::default();
    let response = match door.limiter.anonymous(from, &told) {
        Ok(()) => next.run(request).await,
        Err(error) => error.into_response(),
    };
    with_headers(response, &told)
}

/// Says how full the bucket is that the caller's request was counted in, once it is known who calls.
pub async fn by_caller(mut request: Request, next: Next) -> Response {
    let told = Told::default();
    request.extensions_mut().insert(told.clone());
    with_headers(next.run(request).await, &told)
}

fn with_headers(mut response: Response, told: &Told) -> Response {
    if let Some(left) = told.0.lock().unwrap_or_else(PoisonError::into_inner).take() {
        let headers = response.headers_mut();
        if left.limit > 0 {
            headers.insert(LIMIT, HeaderValue::from(left.limit));
        }
        headers.insert(REMAINING, HeaderValue::from(left.remaining));
        headers.insert(RESET, HeaderValue::from(left.reset));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_memory_of_failures_that_was_filled_is_free_again_when_they_are_over() {
        let limiter = Limiter::new(&Rates::default());
        let from = Origin(std::net::Ipv4Addr::LOCALHOST.into());
        let start = Timestamp::from_micros(1_000_000);
        for number in 0..=MANY {
            drop(limiter.try_key(Caller::Anonymous, from, &number.to_string(), start));
        }
        let ask = |now| limiter.try_key(Caller::Anonymous, from, "another", now).map(KeyTry::was_none);
        assert!(ask(start).is_err());
        let later = start.after(Duration::from_mins(10));
        let _ = ask(later);
        limiter.anonymous(from, &Told::default()).unwrap();
        assert!(ask(later).is_ok());
    }
}
