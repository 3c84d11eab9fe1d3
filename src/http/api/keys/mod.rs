//! Keys that act for a tenant.

pub mod list;
pub mod mint;
pub mod revoke;
pub mod rotate;
pub mod show;
pub mod verify;

use axum::http::StatusCode;
use axum::response::Response;
use secrecy::ExposeSecret as _;
use serde::Serialize;
use utoipa::ToSchema;

use crate::clock::Timestamp;
use crate::dispatch::Dispatched;
use crate::http::error::{ApiError, or_not_found};
use crate::http::response::written;
use crate::http::state::AppState;
use crate::ids::{AccountId, ApiKeyId, UserId};
use crate::operations::{ApiKeySecret, Resource};
use crate::projections::api_keys::ApiKey;

/// An API key; its secret is not part of it.
#[derive(Serialize, ToSchema)]
pub struct KeyRecord {
    /// The identifier.
    pub id: ApiKeyId,
    /// The tenant that it acts for.
    pub account_id: AccountId,
    /// Who minted it.
    pub created_by_user_id: UserId,
    /// The first characters behind the sentinel.
    pub key_prefix: String,
    /// What people call it.
    pub label: String,
    /// When it was minted.
    pub created_at: Timestamp,
    /// From when on it is dead, if ever.
    pub expires_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
    /// When it was last good for something, to the minute.
    pub last_used_at: Option<Timestamp>,
}

impl From<ApiKey> for KeyRecord {
    fn from(key: ApiKey) -> Self {
        Self {
            id: key.id,
            account_id: key.account_id,
            created_by_user_id: key.created_by_user_id,
            key_prefix: key.key_prefix,
            label: key.label,
            created_at: key.created_at,
            expires_at: key.expires_at,
            revoked_at: key.revoked_at,
            last_used_at: key.last_used_at,
        }
    }
}

/// A key and, this once, its secret.
#[derive(Serialize, ToSchema)]
pub struct KeySecret {
    /// The record.
    #[serde(flatten)]
    pub key: KeyRecord,
    /// What to send; it is not kept and not shown again.
    pub plaintext: String,
}

impl AppState {
    /// A key of this account: another account's is not found.
    pub(super) async fn key_record(&self, account: AccountId, id: ApiKeyId) -> Result<KeyRecord, ApiError> {
        let key = or_not_found(self.tenure.reader().api_key(id).await, Resource::ApiKey)?;
        if key.account_id == account { Ok(key.into()) } else { Err(ApiError::not_found(Resource::ApiKey)) }
    }

    /// The answer to a request that has made a secret: with it the first time, never again. The record comes from what was
    /// committed, so that nothing keeps a secret from its caller that nobody else has.
    async fn key_secret(
        &self,
        account: AccountId,
        status: StatusCode,
        done: Dispatched<ApiKeySecret>,
        made: Option<KeyRecord>,
    ) -> Result<Response, ApiError> {
        if let (Some(secret), Some(key)) = (done.answer.plaintext, made) {
            let plaintext = secret.expose_secret().to_owned();
            return Ok(written(status, done.checkpoint, KeySecret { key, plaintext }));
        }
        let key = self.key_record(account, done.answer.id).await?;
        Err(ApiError::GivenOnce(serde_json::to_value(key).map_err(|_| ApiError::Internal)?))
    }
}
