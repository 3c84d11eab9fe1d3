//! Rate limits of one node: by address without a credential, by credential, by tenant.
//!
//! Limits that must hold across nodes (keys of an account, attempts at user codes) are the operations' own.

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
