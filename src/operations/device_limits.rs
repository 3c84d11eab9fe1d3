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
use crate::ids::{DeviceCodeId, SessionId};

/// For how long wrong user codes are counted.
pub const GUESSES_WITHIN: Duration = Duration::from_mins(10);

/// A try at a user code that has been counted.
#[derive(Debug)]
pub struct UserCodeTry {
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

    /// A try at a user code by this session from this address: `None` if there have been too many wrong ones lately.
    /// What comes of it must be told by [`Tenure::right_user_code`] if it was right; a wrong one counts already.
    ///
    /// # Errors
    /// The database cannot be written to.
    pub async fn try_user_code(
        &self,
        session: SessionId,
        from: IpAddr,
    ) -> Result<Option<UserCodeTry>, DispatchError<Refusal>> {
        let limits = &self.rules().limits;
        let buckets = vec![
            (format!("user_code:session:{session}"), limits.user_code_failures),
            (format!("user_code:address:{}", network_of(from)), limits.user_code_failures),
            ("user_code:all".to_owned(), limits.user_code_failures_in_all),
        ];
        let fits = self.coarse().attempt(&buckets, self.clock().now(), GUESSES_WITHIN).await;
        Ok(fits.map_err(unwritable)?.then_some(UserCodeTry { buckets }))
    }

    /// The code of this try was a living one: the try is no failure. Earlier failures stay.
    ///
    /// # Errors
    /// The database cannot be written to.
    pub async fn right_user_code(&self, tried: UserCodeTry) -> Result<(), DispatchError<Refusal>> {
        self.coarse().no_failure(&tried.buckets).await.map_err(unwritable)
    }
}
