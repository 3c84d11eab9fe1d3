//! Limits on device codes: clients cannot flood the log with them, and users cannot guess the user codes of others.

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

/// The window over which wrong user codes are counted.
pub const GUESS_WINDOW: Duration = Duration::from_mins(10);

/// A counted attempt to enter a user code, with the buckets that counted it.
#[derive(Debug)]
pub struct UserCodeAttempt {
    buckets: Vec<Bucket>,
}

/// The network that one client is likely to control: the whole IPv4 address, or the /64 of an IPv6 address.
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

/// The /48 of an IPv6 address; none for IPv4.
fn site_of(address: IpAddr) -> Option<String> {
    match address.to_canonical() {
        IpAddr::V4(_) => None,
        IpAddr::V6(address) => {
            let [a, b, c, ..] = address.segments();
            Some(format!("{}/48", std::net::Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0)))
        }
    }
}

/// The quota of wrong codes of a /48, as a multiple of that of a /64.
const SITE_FACTOR: u32 = 10;

/// How many of an attempt's buckets belong to the caller alone: session, user and address, the first three.
const OWN_BUCKETS: usize = 3;

impl Tenure {
    /// Creates a device code and a user code for a device at this address, within the limits per address and in total.
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
        // Admission comes before the event: a refused request must not write to the log.
        let full = self.coarse().admit_device_code(operation.id, (&network, &address), times, bounds).await;
        if let Some(full) = full.map_err(unwritable)? {
            let (what, most) = match full {
                DeviceCodesFull::Network => ("active device codes per address", bounds.0),
                DeviceCodesFull::All => ("active device codes in total", bounds.1),
            };
            return Err(DispatchError::Refused(Refusal::LimitReached(LimitReached { what, most })));
        }
        self.dispatch_creation(context, operation).await
    }

    /// The address that requested a device code; `None` if it was not requested from an address, or its slot is freed.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn device_address(
        &self,
        device_code: DeviceCodeId,
    ) -> Result<Option<String>, DispatchError<Refusal>> {
        self.coarse().device_address(device_code).await.map_err(unwritable)
    }

    /// Counts an attempt to enter a user code, by session, user and address. `None` if there were too many wrong codes
    /// within [`GUESS_WINDOW`]. When the total of all users is exhausted, each user still gets one attempt.
    ///
    /// The attempt counts as a failure; call [`Tenure::refund_attempt`] if the code was right.
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
        // A client with one IPv6 /64 often controls the whole /48, which has 65,536 of them.
        if let Some(site) = site_of(from) {
            buckets.push((format!("user_code:site:{site}"), most.saturating_mul(SITE_FACTOR)));
        }
        // Counted before the code is looked up, so that concurrent guesses cannot exceed the limit.
        let attempt = |buckets: Vec<Bucket>| async move {
            self.coarse().attempt(&buckets, now, GUESS_WINDOW).await.map_err(unwritable)
        };
        if !attempt(buckets.clone()).await? {
            return Ok(None);
        }
        // Apart from the caller's buckets: a full total must not take back what was counted for this caller.
        let all = ("user_code:all".to_owned(), limits.user_code_failures_in_all);
        if attempt(vec![all.clone()]).await? {
            buckets.push(all);
            return Ok(Some(UserCodeAttempt { buckets }));
        }
        // Guesses by others must not stop a user from approving their own device, so the first attempt is let through.
        let own: Vec<&str> = buckets.iter().take(OWN_BUCKETS).map(|(name, _)| name.as_str()).collect();
        let is_first = self.coarse().most_attempts(&own).await.map_err(unwritable)? <= 1;
        Ok(is_first.then_some(UserCodeAttempt { buckets }))
    }

    /// Uncounts an attempt whose code was right. Earlier failures still count.
    ///
    /// # Errors
    /// The database cannot be written to.
    pub async fn refund_attempt(&self, attempt: UserCodeAttempt) -> Result<(), DispatchError<Refusal>> {
        self.coarse().forgive_attempt(&attempt.buckets).await.map_err(unwritable)
    }
}
