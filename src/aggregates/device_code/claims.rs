//! The claim of a device code on its user code, until it expires, is denied or is consumed.

use uuid::Uuid;

use super::events::DeviceCodeEvent;
use super::values::UserCode;
use crate::aggregates::{ClaimChanges, ClaimHasher};
use crate::event_log::claim::{Claim, ClaimChange, ClaimKey};

/// The claim on a user code.
#[must_use]
pub fn user_code_claim(code: &UserCode, hasher: &dyn ClaimHasher) -> ClaimKey {
    hasher.claim("user_code", code.as_str().as_bytes())
}

impl ClaimChanges for DeviceCodeEvent {
    fn claims(&self, stream: Uuid, hasher: &dyn ClaimHasher) -> Vec<ClaimChange> {
        let holder = stream.to_string();
        let change = match self {
            DeviceCodeEvent::Created { user_code, expires_at, .. } => user_code.open().map(|code| {
                ClaimChange::Take(Claim::until(user_code_claim(code, hasher), holder, *expires_at))
            }),
            DeviceCodeEvent::Denied { user_code, .. } | DeviceCodeEvent::Consumed { user_code, .. } => {
                user_code
                    .open()
                    .map(|code| ClaimChange::Release { key: user_code_claim(code, hasher), holder })
            }
            DeviceCodeEvent::Approved { .. } => None,
        };
        change.into_iter().collect()
    }
}
