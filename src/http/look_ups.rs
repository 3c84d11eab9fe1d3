//! Limits on looking up the credentials of unauthenticated callers: how many bad ones an address may try.
//!
//! What is tried is charged before the database is asked, and given back if it was good, so that a flood of made-up
//! tokens costs the database no more than an address may ask. A secret that was good on this node lately is not held up
//! by what else comes from its address; whether it is still good the database says each time.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use quick_cache::sync::Cache;
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};

use super::error::DoorError;
use super::limits::Rate;
use crate::clock::Stopwatch;

/// What is remembered of secrets and of addresses.
pub struct LookUps {
    /// Tokens and sessions that were good here lately, by their digests.
    good: Cache<[u8; 32], ()>,
    allowances: Allowances,
}

impl LookUps {
    /// Each address may try at this rate; so many good secrets are remembered.
    pub fn new(rate: Rate, remembered: usize) -> Self {
        let allowances = Allowances { rate, left: Mutex::default() };
        Self { good: Cache::new(remembered), allowances }
    }

    /// Asks to look a secret up. Always granted to authenticated callers (`network` is `None`) and for secrets that were
    /// good lately; otherwise only while the network has not used up its allowance.
    ///
    /// # Errors
    /// Too many were.
    pub fn look_up(&self, secret: &SecretString, network: Option<String>) -> Result<LookUp<'_>, DoorError> {
        let digest: [u8; 32] = Sha256::digest(secret.expose_secret()).into();
        let charged = network.filter(|_| self.good.get(&digest).is_none());
        if let Some(network) = &charged {
            self.allowances.take(network).map_err(|retry_after| DoorError::TooMany { retry_after })?;
        }
        Ok(LookUp { look_ups: self, digest, charged })
    }

    /// How many addresses have not their full allowance.
    pub fn len(&self) -> usize {
        self.allowances.lock().len()
    }

    /// Forgets the addresses that have it again.
    pub fn prune(&self) {
        let full = self.allowances.full();
        let refilled = |bucket: &(Stopwatch, f64)| self.allowances.refilled(*bucket);
        self.allowances.lock().retain(|_, bucket| refilled(bucket) < full);
    }
}

/// A secret that is being looked up. Unless it is told to have been good, its address has one less to try.
pub struct LookUp<'a> {
    look_ups: &'a LookUps,
    digest: [u8; 32],
    charged: Option<String>,
}

impl LookUp<'_> {
    /// The secret is good: it is looked up again whatever comes from its address.
    pub fn was_good(self) {
        if self.look_ups.good.get(&self.digest).is_none() {
            self.look_ups.good.insert(self.digest, ());
        }
        self.told_nothing();
    }

    /// The secret is good no more, or never was.
    pub fn was_bad(self) {
        self.look_ups.good.remove(&self.digest);
    }

    /// Nothing was learnt that counts against the address.
    pub fn told_nothing(self) {
        if let Some(network) = &self.charged {
            self.look_ups.allowances.give_back(network);
        }
    }
}

/// Token buckets from which what was taken can be given back.
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

    /// Takes one; or says after how many seconds there is one.
    fn take(&self, key: &str) -> Result<(), u64> {
        let mut all = self.lock();
        let left = all.get(key).map_or_else(|| self.full(), |bucket| self.refilled(*bucket));
        if left < 1.0 {
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
        let look_ups = LookUps::new(Rate { burst: 3, per_second: 1 }, 100);
        for _ in 0..10 {
            look_ups.look_up(&secret("good"), Some(network())).unwrap().was_good();
            look_ups.look_up(&secret("the store is down"), Some(network())).unwrap().told_nothing();
        }
        for number in 0..3 {
            look_ups.look_up(&secret(&format!("bad {number}")), Some(network())).unwrap().was_bad();
        }
        let refused = look_ups.look_up(&secret("bad"), Some(network()));
        assert!(matches!(refused, Err(DoorError::TooMany { retry_after: 1 })));
        assert!(look_ups.look_up(&secret("bad"), None).is_ok(), "for an authenticated caller");
        assert!(look_ups.look_up(&secret("bad"), Some("198.51.100.1".to_owned())).is_ok());
        look_ups.look_up(&secret("good"), Some(network())).unwrap().was_bad();
        assert!(look_ups.look_up(&secret("good"), Some(network())).is_err(), "it was revoked");
    }

    #[test]
    fn what_is_not_waited_for_counts() {
        let look_ups = LookUps::new(Rate { burst: 2, per_second: 1 }, 100);
        drop(look_ups.look_up(&secret("a"), Some(network())).unwrap());
        drop(look_ups.look_up(&secret("b"), Some(network())).unwrap());
        assert!(look_ups.look_up(&secret("c"), Some(network())).is_err());
        assert_eq!(look_ups.len(), 1);
        look_ups.prune();
        assert_eq!(look_ups.len(), 1, "it is not full again");
    }
}
