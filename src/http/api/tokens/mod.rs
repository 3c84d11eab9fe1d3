//! Bearer tokens of people.

pub mod issue;
pub mod list;
pub mod revoke;

use serde::Serialize;
use utoipa::ToSchema;

use crate::clock::Timestamp;
use crate::ids::{BearerTokenId, UserId};
use crate::projections::bearer_tokens::BearerToken;

/// A bearer token; its secret is not part of it.
#[derive(Serialize, ToSchema)]
pub struct TokenRecord {
    /// The identifier.
    pub id: BearerTokenId,
    /// Whose it is.
    pub user_id: UserId,
    /// The first characters, for display.
    pub prefix: String,
    /// Since when.
    pub created_at: Timestamp,
    /// From when on it is dead.
    pub expires_at: Timestamp,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
    /// When it was last good for something, to the minute.
    pub last_used_at: Option<Timestamp>,
}

impl From<BearerToken> for TokenRecord {
    fn from(token: BearerToken) -> Self {
        Self {
            id: token.id,
            user_id: token.user_id,
            prefix: token.prefix,
            created_at: token.created_at,
            expires_at: token.expires_at,
            revoked_at: token.revoked_at,
            last_used_at: token.last_used_at,
        }
    }
}
