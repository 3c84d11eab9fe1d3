//! The rules of an API key.

use super::commands::ApiKeyCommand;
use super::events::ApiKeyEvent;
use super::refusal::ApiKeyRefusal;
use super::state::ApiKey;
use crate::aggregates::EventSourced;

impl EventSourced for ApiKey {
    const STATE_VERSION: i32 = 2;

    fn decide(&self, command: ApiKeyCommand) -> Result<Vec<ApiKeyEvent>, ApiKeyRefusal> {
        match (self, command) {
            (Self::Unknown, ApiKeyCommand::Mint(new)) => Ok(vec![ApiKeyEvent::Minted {
                account: new.account,
                minter: new.minter,
                removals: new.removals,
                prefix: new.prefix,
                at: new.at,
                expires_at: new.expires_at,
                hash: new.hash.into(),
                label: new.label.into(),
            }]),
            (Self::Active(_) | Self::Revoked { .. }, ApiKeyCommand::Mint(_)) => {
                Err(ApiKeyRefusal::AlreadyMinted)
            }
            (Self::Active(key), ApiKeyCommand::Rotate { prefix, hash, former_until, at }) => {
                if self.active(at).is_none() {
                    return Err(ApiKeyRefusal::NotFound);
                }
                // Only one former secret stays valid: this rotation drops the one before.
                Ok(vec![ApiKeyEvent::Rotated {
                    account: key.account,
                    prefix,
                    former_prefix: key.prefix.clone(),
                    former_until,
                    at,
                    hash: hash.into(),
                    former_hash: key.hash.clone(),
                }])
            }
            (Self::Unknown, _) | (Self::Revoked { .. }, ApiKeyCommand::Rotate { .. }) => {
                Err(ApiKeyRefusal::NotFound)
            }
            (Self::Active(key), ApiKeyCommand::Revoke { at }) => {
                Ok(vec![ApiKeyEvent::Revoked { account: key.account, at }])
            }
            (Self::Revoked { .. }, ApiKeyCommand::Revoke { .. }) => Ok(vec![]),
        }
    }
}
