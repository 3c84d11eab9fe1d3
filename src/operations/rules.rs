//! What an instance may set for itself.

use std::time::Duration;

use super::limits::Limits;
use crate::aggregates::source::RetentionDefaults;

/// What an instance may set for itself.
#[derive(Clone, Debug)]
pub struct Rules {
    /// What API keys and tokens begin with.
    pub sentinel: String,
    /// How long an invite stands.
    pub invite_ttl: Duration,
    /// What a pipe keeps when nothing else is said.
    pub retention: RetentionDefaults,
    /// How many there may be of what tenants and strangers can make.
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
