//! What keeps strangers from flooding the log with device codes, and from guessing the codes of others.

use std::net::IpAddr;
use std::time::Duration;

use super::Outcome;
use super::device_codes::{NewDeviceCode, unwritable};
use super::refusal::{LimitReached, Refusal};
use crate::Tenure;
use crate::coarse::{Bucket, DeviceCodesFull};
use crate::context::Context;
use crate::dispatch::DispatchError;
use crate::ids::{DeviceCodeId, SessionId, UserId};

/// For how long wrong user codes are counted.
pub const GUESS_WINDOW: Duration = Duration::from_mins(10);

/// A try at a user code that has been counted.
#[derive(Debug)]
pub struct UserCodeAttempt {
    buckets: Vec<Bucket>,
}

/// The part of an address that one party is likely to hold: IPv4 whole, of IPv6 the first 64 bits.
#[must_use]
pub fn network_of(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            format!("{}/64", std::net::Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
    }
}

/// The /48 of an IPv6 address.
fn site_of(address: IpAddr) -> Option<String> {
    match address.to_canonical() {
        IpAddr::V4(_) => None,
        IpAddr::V6(address) => {
            let [a, b, c, ..] = address.segments();
            Some(format!("{}/48", std::net::Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0)))
        }
    }
}

/// How many more wrong codes a /48 has than a /64.
const SITE_FACTOR: u32 = 10;

/// How many of a try's buckets are of nobody else: session, person, address.
const OWN_BUCKETS: usize = 3;

impl Tenure {
    /// Hands out a pair of codes to a device that asks from this address, if there is room: strangers can neither flood
    /// the log nor leave no code to others.
    ///
    /// # Errors
    /// As [`Tenure::create_device_code`], and `LimitReached`.
    pub async fn request_device_code(
        &self,
        context: &Context,
        ttl: Duration,
        client_name: &str,
        from: IpAddr,
    ) -> Outcome<NewDeviceCode> {
        let operation = self.new_device_code(ttl, client_name)?;
        let (now, limits) = (self.clock().now(), &self.rules().limits);
        let bounds = (limits.device_codes_per_address, limits.device_codes);
        let (network, address) = (network_of(from), from.to_string());
        let times = (now, now.after(operation.ttl));
        let full = self.coarse().admit_device_code(operation.id, (&network, &address), times, bounds).await;
        if let Some(full) = full.map_err(unwritable)? {
            let (what, most) = match full {
                DeviceCodesFull::Network => ("device codes of one address", bounds.0),
                DeviceCodesFull::All => ("device codes", bounds.1),
            };
            return Err(DispatchError::Refused(Refusal::LimitReached(LimitReached { what, most })));
        }
        self.hand_out(context, operation).await
    }

    /// The address from which a device code was asked for.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn device_address(
        &self,
        device_code: DeviceCodeId,
    ) -> Result<Option<String>, DispatchError<Refusal>> {
        self.coarse().device_address(device_code).await.map_err(unwritable)
    }

    /// A try at a user code by this person's session from this address: `None` if there have been too many wrong ones
    /// lately. Where there have been too many of all people, each may still try once.
    /// What comes of it must be told by [`Tenure::right_user_code`] if it was right; a wrong one counts already.
    ///
    /// # Errors
    /// The database cannot be written to.
    pub async fn attempt_user_code(
        &self,
        user: UserId,
        session: SessionId,
        from: IpAddr,
    ) -> Result<Option<UserCodeAttempt>, DispatchError<Refusal>> {
        let (limits, now) = (&self.rules().limits, self.clock().now());
        let most = limits.user_code_failures;
        let mut buckets = vec![
            (format!("user_code:session:{session}"), most),
            (format!("user_code:user:{user}"), most),
            (format!("user_code:address:{}", network_of(from)), most),
        ];
        // The holder of one IPv6 /64 often holds the whole /48, which has 65,536 of them.
        if let Some(site) = site_of(from) {
            buckets.push((format!("user_code:site:{site}"), most.saturating_mul(SITE_FACTOR)));
        }
        let attempt = |buckets: Vec<Bucket>| async move {
            self.coarse().attempt(&buckets, now, GUESS_WINDOW).await.map_err(unwritable)
        };
        if !attempt(buckets.clone()).await? {
            return Ok(None);
        }
        let all = ("user_code:all".to_owned(), limits.user_code_failures_in_all);
        if attempt(vec![all.clone()]).await? {
            buckets.push(all);
            return Ok(Some(UserCodeAttempt { buckets }));
        }
        // Guesses of others must not keep people from approving their own devices: a first try is let through.
        let own: Vec<&str> = buckets.iter().take(OWN_BUCKETS).map(|(name, _)| name.as_str()).collect();
        let is_first = self.coarse().most_attempts(&own).await.map_err(unwritable)? <= 1;
        Ok(is_first.then_some(UserCodeAttempt { buckets }))
    }

    /// The code of this try was a living one: the try is no failure. Earlier failures stay.
    ///
    /// # Errors
    /// The database cannot be written to.
    pub async fn right_user_code(&self, tried: UserCodeAttempt) -> Result<(), DispatchError<Refusal>> {
        self.coarse().forgive_attempt(&tried.buckets).await.map_err(unwritable)
    }
}
