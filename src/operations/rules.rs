//! The business settings of an instance.

use std::time::Duration;

use super::limits::Limits;
use crate::aggregates::source::RetentionDefaults;

/// The business settings of an instance: prefix of secrets, invite lifetime, retention defaults and limits.
#[derive(Clone, Debug)]
pub struct Rules {
    /// The prefix of all API keys and tokens, without the underscore that follows it.
    pub sentinel: String,
    /// How long an invite can be accepted; 14 days by default.
    pub invite_ttl: Duration,
    /// The retention of a pipe that sets none.
    pub retention: RetentionDefaults,
    /// How many resources accounts and clients can create.
    pub limits: Limits,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            sentinel: crate::credentials::api_key::SENTINEL.to_owned(),
            invite_ttl: Duration::from_hours(14 * 24),
            retention: RetentionDefaults::default(),
            limits: Limits::default(),
        }
    }
}
