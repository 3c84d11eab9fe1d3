//! Routes for API keys, which act for an account.

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
use crate::projections::Reader;
use crate::projections::api_keys::ApiKey;

/// An API key, without its secret.
#[derive(Serialize, ToSchema)]
pub struct KeyRecord {
    /// The key's identifier.
    pub id: ApiKeyId,
    /// The account that the key acts for.
    pub account_id: AccountId,
    /// The identifier of the user who minted the key.
    pub created_by_user_id: UserId,
    /// The first eight characters of the secret after the first underscore, for display.
    pub key_prefix: String,
    /// The label given when the key was minted; empty if there is none or it can no longer be decrypted.
    pub label: String,
    /// When the key was minted.
    pub created_at: Timestamp,
    /// When the key expires; `null` if it never does.
    #[schema(required = true)]
    pub expires_at: Option<Timestamp>,
    /// When the key was revoked, or ended with its creator's membership; `null` until then.
    #[schema(required = true)]
    pub revoked_at: Option<Timestamp>,
    /// When the key was last used successfully, accurate to the minute; `null` if never.
    #[schema(required = true)]
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

/// An API key with its secret, which is shown only once.
#[derive(Serialize, ToSchema)]
pub struct KeySecret {
    /// The key's record.
    #[serde(flatten)]
    pub key: KeyRecord,
    /// The secret, to be sent as the bearer credential. It is not stored and cannot be shown again.
    pub plaintext: String,
}

/// The record of a key of this account; a key of another account is not found.
pub(super) async fn key_record(
    reader: &Reader,
    account: AccountId,
    id: ApiKeyId,
) -> Result<KeyRecord, ApiError> {
    let key = or_not_found(reader.api_key(id).await, Resource::ApiKey)?;
    if key.account_id == account { Ok(key.into()) } else { Err(ApiError::not_found(Resource::ApiKey)) }
}

/// The response to a request that creates a secret: the secret the first time, an error with the record on
/// repetition. `made` is built from the committed event: a failed read here would lose the only copy of the secret.
async fn key_secret(
    state: &AppState,
    account: AccountId,
    status: StatusCode,
    done: Dispatched<ApiKeySecret>,
    made: Option<KeyRecord>,
) -> Result<Response, ApiError> {
    if let (Some(secret), Some(key)) = (done.answer.plaintext, made) {
        let plaintext = secret.expose_secret().to_owned();
        return Ok(written(status, done.checkpoint, KeySecret { key, plaintext }));
    }
    let key = key_record(state.tenure.reader(), account, done.answer.id).await?;
    Err(ApiError::GivenOnce(serde_json::to_value(key).map_err(|_| ApiError::Internal)?))
}
