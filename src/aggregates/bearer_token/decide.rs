//! The rules of a bearer token.

use super::commands::BearerTokenCommand;
use super::events::BearerTokenEvent;
use super::refusal::BearerTokenRefusal;
use super::state::BearerToken;
use crate::aggregates::EventSourced;

impl EventSourced for BearerToken {
    const STATE_VERSION: i32 = 2;

    fn decide(&self, command: BearerTokenCommand) -> Result<Vec<BearerTokenEvent>, BearerTokenRefusal> {
        match (self, command) {
            (Self::Unknown, BearerTokenCommand::Issue(new)) => Ok(vec![BearerTokenEvent::Issued {
                user: new.user,
                prefix: new.prefix,
                at: new.at,
                expires_at: new.expires_at,
                digest: new.digest.into(),
            }]),
            (Self::Active(_) | Self::Revoked { .. }, BearerTokenCommand::Issue(_)) => {
                Err(BearerTokenRefusal::IdentifierInUse)
            }
            (Self::Unknown, BearerTokenCommand::Revoke { .. }) => Err(BearerTokenRefusal::NotFound),
            (Self::Active(active), BearerTokenCommand::Revoke { at }) => {
                Ok(vec![BearerTokenEvent::Revoked { user: active.user, at }])
            }
            // Revoking again is no error (RFC 7009 §2.2).
            (Self::Revoked { .. }, BearerTokenCommand::Revoke { .. }) => Ok(vec![]),
        }
    }
}
