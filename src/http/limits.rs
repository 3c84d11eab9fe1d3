//! How often a door may be used on this node: by address without a credential, by credential, by tenant. What guards
//! the log across nodes is in the engine.

use std::num::NonZeroU32;

use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, Method, Response as HttpResponse, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use governor::clock::{Clock as _, DefaultClock};
use governor::middleware::StateInformationMiddleware;
use governor::state::keyed::DashMapStateStore;
use governor::{Quota, RateLimiter};
use quick_cache::sync::Cache;
use sha2::{Digest, Sha256};

use super::door::Shared;
use super::error::DoorError;
use super::origin::Origin;
use crate::clock::Timestamp;
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
    /// Requests without a credential from one address (IPv6: one /64).
    pub anonymous: Rate,
    /// Requests with one credential.
    pub credential: Rate,
    /// Requests with one credential that change something.
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
            commands: Rate::new(2_000, 200),
            tenant: Rate::new(40_000, 20_000),
            key_failures: 10,
        }
    }
}

type Keyed<K> = RateLimiter<K, DashMapStateStore<K>, DefaultClock, StateInformationMiddleware>;

/// How many buckets are kept before those that are full again are thrown away.
const MANY: usize = 100_000;

/// For how long bad keys are counted, in microseconds.
const FAILURES_WITHIN: i64 = 600_000_000;

/// The limits of one node.
pub struct Limiter {
    anonymous: Keyed<String>,
    credential: Keyed<[u8; 32]>,
    commands: Keyed<[u8; 32]>,
    tenant: Keyed<AccountId>,
    key_failures: Cache<(String, String), (Timestamp, u32)>,
    most_key_failures: u32,
}

/// What a bucket says of itself.
struct Left {
    limit: u32,
    remaining: u32,
    reset: u64,
}

fn keyed<K: std::hash::Hash + Eq + Clone>(rate: Rate) -> Keyed<K> {
    RateLimiter::dashmap_with_hasher(rate.quota(), std::hash::RandomState::default())
        .with_middleware::<StateInformationMiddleware>()
}

fn check<K: std::hash::Hash + Eq + Clone>(limiter: &Keyed<K>, key: &K) -> Result<Left, u64> {
    if limiter.len() > MANY {
        limiter.retain_recent();
    }
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

impl Limiter {
    /// The limits at these rates.
    #[must_use]
    pub fn new(rates: &Rates) -> Self {
        Self {
            anonymous: keyed(rates.anonymous),
            credential: keyed(rates.credential),
            commands: keyed(rates.commands),
            tenant: keyed(rates.tenant),
            key_failures: Cache::new(MANY),
            most_key_failures: rates.key_failures,
        }
    }

    /// One request about an account.
    ///
    /// # Errors
    /// Too many.
    pub fn tenant(&self, account: AccountId) -> Result<(), DoorError> {
        check(&self.tenant, &account).map(|_| ()).map_err(|retry_after| DoorError::TooMany { retry_after })
    }

    /// Whether a key with this prefix may be checked for this address: not after many bad ones.
    ///
    /// # Errors
    /// Too many bad ones.
    pub fn may_check_key(&self, from: Origin, prefix: &str, now: Timestamp) -> Result<(), DoorError> {
        let key = (network_of(from.0), prefix.to_owned());
        match self.key_failures.get(&key) {
            Some((since, count)) if count >= self.most_key_failures => {
                let left = FAILURES_WITHIN - (now.as_micros() - since.as_micros());
                if left <= 0 {
                    return Ok(());
                }
                Err(DoorError::TooMany { retry_after: u64::try_from(left / 1_000_000 + 1).unwrap_or(1) })
            }
            _ => Ok(()),
        }
    }

    /// A key with this prefix from this address was bad.
    pub fn key_failed(&self, from: Origin, prefix: &str, now: Timestamp) {
        let key = (network_of(from.0), prefix.to_owned());
        let (since, count) = match self.key_failures.get(&key) {
            Some((since, count)) if now.as_micros() - since.as_micros() < FAILURES_WITHIN => (since, count),
            _ => (now, 0),
        };
        self.key_failures.insert(key, (since, count.saturating_add(1)));
    }

    fn request(&self, request: &Request, from: Origin) -> Result<Left, u64> {
        let headers = request.headers();
        let credential = headers.get(header::AUTHORIZATION).or_else(|| headers.get(header::COOKIE));
        let Some(credential) = credential else {
            return check(&self.anonymous, &network_of(from.0));
        };
        let key: [u8; 32] = Sha256::digest(credential.as_bytes()).into();
        let left = check(&self.credential, &key)?;
        if matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS) {
            return Ok(left);
        }
        check(&self.commands, &key)
    }
}

const LIMIT: HeaderName = HeaderName::from_static("ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("ratelimit-remaining");
const RESET: HeaderName = HeaderName::from_static("ratelimit-reset");

/// Lets a request pass if its bucket is not empty, and says how full it is.
pub async fn throttle(State(door): State<Shared>, request: Request, next: Next) -> Response {
    let from = Origin::of(request.extensions(), request.headers(), &door.settings.trusted_proxies);
    let (mut response, left): (HttpResponse<_>, _) = match door.limiter.request(&request, from) {
        Ok(left) => (next.run(request).await, left),
        Err(retry_after) => {
            let left = Left { limit: 0, remaining: 0, reset: retry_after };
            (DoorError::TooMany { retry_after }.into_response(), left)
        }
    };
    let headers = response.headers_mut();
    if left.limit > 0 {
        headers.insert(LIMIT, HeaderValue::from(left.limit));
    }
    headers.insert(REMAINING, HeaderValue::from(left.remaining));
    headers.insert(RESET, HeaderValue::from(left.reset));
    response
}
