//! The rate limiter of one node: its token buckets and when they are pruned.

use std::net::IpAddr;
use std::sync::Mutex;

use axum::http::Method;
use governor::RateLimiter;
use governor::clock::{Clock as _, DefaultClock};
use governor::middleware::StateInformationMiddleware;
use governor::state::keyed::DashMapStateStore;
use secrecy::SecretString;
use uuid::Uuid;

use super::key_failures::{KeyAttempt, KeyFailures};
use super::lookups::{CredentialLookups, LookupAttempt};
use super::settings::{PRUNE_ABOVE, PRUNE_EVERY, Rate, Rates};
use super::status::{Quota, RateLimitStatus};
use crate::clock::{Stopwatch, Timestamp};
use crate::http::error::ApiError;
use crate::ids::AccountId;
use crate::operations::network_of;

type Buckets<K> = RateLimiter<K, DashMapStateStore<K>, DefaultClock, StateInformationMiddleware>;

/// The rate limits of one node.
pub struct RateLimits {
    anonymous: Buckets<String>,
    credential: Buckets<Uuid>,
    commands: Buckets<Uuid>,
    tenant: Buckets<AccountId>,
    key_failures: KeyFailures,
    lookups: CredentialLookups,
    pruned: Mutex<Option<Stopwatch>>,
}

fn buckets<K: std::hash::Hash + Eq + Clone>(rate: Rate) -> Buckets<K> {
    // A random hasher: clients choose some of the keys, and must not be able to force collisions.
    RateLimiter::dashmap_with_hasher(rate.quota(), std::hash::RandomState::default())
        .with_middleware::<StateInformationMiddleware>()
}

fn check<K: std::hash::Hash + Eq + Clone>(buckets: &Buckets<K>, key: &K) -> Result<Quota, u64> {
    match buckets.check_key(key) {
        Ok(bucket) => {
            let (limit, remaining) = (bucket.quota().burst_size().get(), bucket.remaining_burst_capacity());
            let used = limit.saturating_sub(remaining);
            let reset = (bucket.quota().replenish_interval() * used).as_secs_f64().ceil();
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
            Ok(Quota { limit, remaining, reset: reset as u64 })
        }
        Err(not_until) => {
            let wait = not_until.wait_time_from(DefaultClock::default().now());
            // Rounded up: a client that retries a moment early would be refused again.
            Err(wait.as_secs().saturating_add(1))
        }
    }
}

/// Routes that only read, but use POST because their input must not appear in a URL.
const QUERIES_BY_POST: [&str; 2] = ["/api/v1/keys/verify", "/api/v1/usernames"];

/// Whether a request may change state, and so counts against the command limit.
pub fn is_command(method: &Method, route: Option<&str>) -> bool {
    !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
        && !route.is_some_and(|route| QUERIES_BY_POST.contains(&route))
}

impl RateLimits {
    /// Rate limits with these rates, all buckets full.
    #[must_use]
    pub fn new(rates: &Rates) -> Self {
        Self {
            anonymous: buckets(rates.anonymous),
            credential: buckets(rates.credential),
            commands: buckets(rates.commands),
            tenant: buckets(rates.tenant),
            key_failures: KeyFailures::new(rates.key_failures),
            lookups: CredentialLookups::new(rates.anonymous, PRUNE_ABOVE),
            pruned: Mutex::new(None),
        }
    }

    /// Counts one request against the account that it is about.
    ///
    /// # Errors
    /// [`ApiError::TooMany`] if the bucket is empty.
    pub fn tenant(&self, account: AccountId) -> Result<(), ApiError> {
        check(&self.tenant, &account).map(|_| ()).map_err(|retry_after| ApiError::TooMany { retry_after })
    }

    /// Counts one request without a credential, or with a bad one, against its address.
    ///
    /// # Errors
    /// [`ApiError::TooMany`] if the bucket is empty.
    pub fn anonymous(&self, from: IpAddr, status: &RateLimitStatus) -> Result<(), ApiError> {
        self.prune();
        status.record(check(&self.anonymous, &network_of(from)))
    }

    /// Asks to look up a secret that an anonymous caller at this address sent; `None` for authenticated callers, who
    /// are not limited here.
    ///
    /// # Errors
    /// [`ApiError::TooMany`]: too many secrets from this address were bad.
    pub fn look_up(
        &self,
        secret: &SecretString,
        anonymous_from: Option<IpAddr>,
    ) -> Result<LookupAttempt<'_>, ApiError> {
        self.lookups.look_up(secret, anonymous_from.map(network_of))
    }

    /// Counts one request against the authenticated caller, or against the address if the caller is anonymous.
    ///
    /// # Errors
    /// [`ApiError::TooMany`] if the bucket is empty.
    pub fn caller(
        &self,
        caller: Option<Uuid>,
        from: IpAddr,
        is_command: bool,
        status: &RateLimitStatus,
    ) -> Result<(), ApiError> {
        let Some(caller) = caller else { return self.anonymous(from, status) };
        self.prune();
        status.record(check(&self.credential, &caller))?;
        if is_command { status.record(check(&self.commands, &caller)) } else { Ok(()) }
    }

    /// Begins an attempt at an API key with this prefix. `by` is the caller who verifies it; none for a caller who
    /// authenticates with it.
    ///
    /// # Errors
    /// [`ApiError::TooMany`]: too many attempts have failed.
    pub fn attempt_key(
        &self,
        by: Option<Uuid>,
        from: IpAddr,
        prefix: &str,
        now: Timestamp,
    ) -> Result<KeyAttempt<'_>, ApiError> {
        self.key_failures.attempt(by, from, prefix, now)
    }

    /// Prunes idle buckets, at most once a second, so that pruning cost is not paid on every request.
    fn prune(&self) {
        let lengths = [
            self.anonymous.len(),
            self.credential.len(),
            self.commands.len(),
            self.tenant.len(),
            self.lookups.len(),
            self.key_failures.len(),
        ];
        if lengths.iter().all(|length| *length <= PRUNE_ABOVE) {
            return;
        }
        // If another request is pruning, this one does not wait for it.
        let Ok(mut pruned) = self.pruned.try_lock() else { return };
        if pruned.is_none_or(|pruned| pruned.elapsed() >= PRUNE_EVERY) {
            self.anonymous.retain_recent();
            self.credential.retain_recent();
            self.commands.retain_recent();
            self.tenant.retain_recent();
            self.lookups.prune();
            self.key_failures.prune();
            *pruned = Some(Stopwatch::start());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_full_table_of_key_failures_has_room_again_when_they_expire() {
        let limits = RateLimits::new(&Rates::default());
        let from = std::net::Ipv4Addr::LOCALHOST.into();
        let start = Timestamp::from_micros(1_000_000);
        for number in 0..=PRUNE_ABOVE {
            drop(limits.attempt_key(None, from, &number.to_string(), start));
        }
        let attempt = |now| limits.attempt_key(None, from, "another", now).map(KeyAttempt::cancel);
        assert!(attempt(start).is_err());
        let later = start.after(Duration::from_mins(10));
        let _ = attempt(later);
        limits.anonymous(from, &RateLimitStatus::default()).unwrap();
        assert!(attempt(later).is_ok());
    }
}
