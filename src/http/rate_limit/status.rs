//! What a rate limit tells the client: how much of its quota is left.

use std::sync::{Arc, Mutex, PoisonError};

use crate::http::error::ApiError;

/// The remaining quota of one bucket, as the `RateLimit-*` headers show it.
pub(super) struct Quota {
    /// The burst size; 0 when the request was refused.
    pub limit: u32,
    /// How many more requests may come at once.
    pub remaining: u32,
    /// Seconds until the bucket is full again, or until a refused client may retry.
    pub reset: u64,
}

/// The remaining quota that a request's handler leaves for the response headers.
#[derive(Clone, Default)]
pub struct RateLimitStatus(Arc<Mutex<Option<Quota>>>);

impl RateLimitStatus {
    /// Records the result of a bucket: its remaining quota, or in how many seconds to retry. A later bucket replaces an
    /// earlier one.
    ///
    /// # Errors
    /// [`ApiError::TooMany`] if the bucket refused the request.
    pub(super) fn record(&self, answer: Result<Quota, u64>) -> Result<(), ApiError> {
        let (remaining, outcome) = match answer {
            Ok(remaining) => (remaining, Ok(())),
            Err(retry_after) => {
                let refused = Quota { limit: 0, remaining: 0, reset: retry_after };
                (refused, Err(ApiError::TooMany { retry_after }))
            }
        };
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(remaining);
        outcome
    }

    pub(super) fn take(&self) -> Option<Quota> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
