//! Settings of the rate limits, with their defaults.

use std::num::NonZeroU32;
use std::time::Duration;

use governor::Quota;

/// How many buckets of one kind are kept before idle ones are pruned.
pub(super) const PRUNE_ABOVE: usize = 100_000;

/// The shortest time between two prunings.
pub(super) const PRUNE_EVERY: Duration = Duration::from_secs(1);

/// A token bucket: burst size and refill rate.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    /// How many requests may come at once.
    pub burst: u32,
    /// How many requests a second are refilled.
    pub per_second: u32,
}

impl Rate {
    const fn new(burst: u32, per_second: u32) -> Self {
        Self { burst, per_second }
    }

    pub(super) fn quota(self) -> Quota {
        // A rate of 0 would refuse every request for ever.
        let at_least_one = |count: u32| NonZeroU32::new(count).unwrap_or(NonZeroU32::MIN);
        Quota::per_second(at_least_one(self.per_second)).allow_burst(at_least_one(self.burst))
    }
}

/// The rate limits of a node.
#[derive(Clone, Copy, Debug)]
pub struct Rates {
    /// Requests without a credential, or with a bad one, from one address (IPv6: one /64).
    pub anonymous: Rate,
    /// Requests of one user, or of one API key.
    pub credential: Rate,
    /// Commands (requests that may change state) of one user, or of one API key.
    pub commands: Rate,
    /// Requests about one account.
    pub tenant: Rate,
    /// Bad API keys with one prefix from one address within ten minutes.
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
