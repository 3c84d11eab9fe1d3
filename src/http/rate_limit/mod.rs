//! Rate limits of one node: by address for anonymous requests, by credential, and by tenant.
//!
//! Limits that must hold across nodes (keys of an account, attempts at user codes) belong to the operations.

mod key_failures;
mod limiter;
mod lookups;
mod middleware;
mod settings;
mod status;

pub use limiter::{RateLimits, is_command};
pub use middleware::{by_address, by_caller};
pub use settings::{Rate, Rates};
pub use status::RateLimitStatus;
