//! Routes for the bearer tokens of users.

pub mod issue;
pub mod list;
pub mod revoke;

use serde::Serialize;
use utoipa::ToSchema;

use crate::clock::Timestamp;
use crate::ids::{BearerTokenId, UserId};
use crate::projections::bearer_tokens::BearerToken;

/// A bearer token, without its secret.
#[derive(Serialize, ToSchema)]
pub struct TokenRecord {
    /// The token's identifier.
    pub id: BearerTokenId,
    /// The identifier of the user that the token acts for.
    pub user_id: UserId,
    /// The first characters of the secret, for display.
    pub prefix: String,
    /// When the token was issued.
    pub created_at: Timestamp,
    /// When the token expires.
    pub expires_at: Timestamp,
    /// When the token was revoked; `null` until then.
    #[schema(required = true)]
    pub revoked_at: Option<Timestamp>,
    /// When the token was last used successfully, accurate to the minute; `null` if never.
    #[schema(required = true)]
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
