//! Limits on looking up the credentials of unauthenticated callers: how many bad ones an address may try.
//!
//! An attempt is charged before the database is asked and refunded if the secret was good, so that a flood of made-up
//! tokens costs the database no more than an address is allowed. A secret that was recently good on this node is not
//! blocked by other traffic from its address; the database still decides each time whether it is good.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use quick_cache::sync::Cache;
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};

use super::settings::Rate;
use crate::clock::Stopwatch;
use crate::http::error::ApiError;

/// The lookup allowances of addresses, and the secrets that were recently good.
pub struct CredentialLookups {
    /// Tokens and sessions that were recently good on this node, by their SHA-256 digests.
    good: Cache<[u8; 32], ()>,
    allowances: Allowances,
}

impl CredentialLookups {
    /// Each address may try bad secrets at this rate; up to `remembered` good secrets are remembered.
    pub fn new(rate: Rate, remembered: usize) -> Self {
        let allowances = Allowances { rate, left: Mutex::default() };
        Self { good: Cache::new(remembered), allowances }
    }

    /// Asks to look a secret up. Always granted to authenticated callers (`network` is `None`) and for secrets that
    /// were recently good; otherwise only while the network has not used up its allowance.
    ///
    /// # Errors
    /// [`ApiError::TooMany`] if the network has used up its allowance.
    pub fn look_up(
        &self,
        secret: &SecretString,
        network: Option<String>,
    ) -> Result<LookupAttempt<'_>, ApiError> {
        let digest: [u8; 32] = Sha256::digest(secret.expose_secret()).into();
        let charged = network.filter(|_| self.good.get(&digest).is_none());
        if let Some(network) = &charged {
            self.allowances.take(network).map_err(|retry_after| ApiError::TooMany { retry_after })?;
        }
        Ok(LookupAttempt { lookups: self, digest, charged })
    }

    /// How many networks have an entry because they tried secrets.
    pub fn len(&self) -> usize {
        self.allowances.lock().len()
    }

    /// Removes the networks whose allowance is full again.
    pub fn prune(&self) {
        let full = self.allowances.full();
        let refilled = |bucket: &(Stopwatch, f64)| self.allowances.refilled(*bucket);
        self.allowances.lock().retain(|_, bucket| refilled(bucket) < full);
    }
}

/// A lookup in progress. The charge to its network stays unless it is reported good or inconclusive; dropping it counts
/// as bad, so that a client cannot avoid the charge by disconnecting.
pub struct LookupAttempt<'a> {
    lookups: &'a CredentialLookups,
    digest: [u8; 32],
    charged: Option<String>,
}

impl LookupAttempt<'_> {
    /// The secret is good: refunds the charge, and exempts the secret from the limit of its address.
    pub fn succeeded(self) {
        // Most secrets are already known: a read of the cache does not lock it for writing.
        if self.lookups.good.get(&self.digest).is_none() {
            self.lookups.good.insert(self.digest, ());
        }
        self.was_inconclusive();
    }

    /// The secret is bad: keeps the charge, and ends an exemption.
    pub fn failed(self) {
        self.lookups.good.remove(&self.digest);
    }

    /// The lookup failed for other reasons: refunds the charge.
    pub fn was_inconclusive(self) {
        if let Some(network) = &self.charged {
            self.lookups.allowances.give_back(network);
        }
    }
}

/// Token buckets that accept refunds, which `governor` does not offer.
struct Allowances {
    rate: Rate,
    left: Mutex<HashMap<String, (Stopwatch, f64)>>,
}

impl Allowances {
    fn full(&self) -> f64 {
        f64::from(self.rate.burst.max(1))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, (Stopwatch, f64)>> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn refilled(&self, (since, left): (Stopwatch, f64)) -> f64 {
        let refill = since.elapsed().as_secs_f64() * f64::from(self.rate.per_second.max(1));
        (left + refill).min(self.full())
    }

    /// Takes one token, or returns in how many seconds to retry.
    fn take(&self, key: &str) -> Result<(), u64> {
        let mut all = self.lock();
        let left = all.get(key).map_or_else(|| self.full(), |bucket| self.refilled(*bucket));
        if left < 1.0 {
            // At least one token a second is refilled.
            return Err(1);
        }
        all.insert(key.to_owned(), (Stopwatch::start(), left - 1.0));
        Ok(())
    }

    fn give_back(&self, key: &str) {
        if let Some((_, left)) = self.lock().get_mut(key) {
            *left = (*left + 1.0).min(self.full());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> SecretString {
        text.to_owned().into()
    }

    fn network() -> String {
        "203.0.113.7".to_owned()
    }

    #[test]
    fn bad_secrets_use_up_what_an_address_may_try_and_good_ones_do_not() {
        let lookups = CredentialLookups::new(Rate { burst: 3, per_second: 1 }, 100);
        for _ in 0..10 {
            lookups.look_up(&secret("good"), Some(network())).unwrap().succeeded();
            lookups.look_up(&secret("the store is down"), Some(network())).unwrap().was_inconclusive();
        }
        for number in 0..3 {
            lookups.look_up(&secret(&format!("bad {number}")), Some(network())).unwrap().failed();
        }
        let refused = lookups.look_up(&secret("bad"), Some(network()));
        assert!(matches!(refused, Err(ApiError::TooMany { retry_after: 1 })));
        assert!(lookups.look_up(&secret("bad"), None).is_ok(), "authenticated callers are not limited");
        assert!(lookups.look_up(&secret("bad"), Some("198.51.100.1".to_owned())).is_ok());
        lookups.look_up(&secret("good"), Some(network())).unwrap().failed();
        assert!(lookups.look_up(&secret("good"), Some(network())).is_err(), "it was revoked");
    }

    #[test]
    fn what_is_not_waited_for_counts() {
        let lookups = CredentialLookups::new(Rate { burst: 2, per_second: 1 }, 100);
        drop(lookups.look_up(&secret("a"), Some(network())).unwrap());
        drop(lookups.look_up(&secret("b"), Some(network())).unwrap());
        assert!(lookups.look_up(&secret("c"), Some(network())).is_err());
        assert_eq!(lookups.len(), 1);
        lookups.prune();
        assert_eq!(lookups.len(), 1, "a bucket that is not full is kept");
    }
}
