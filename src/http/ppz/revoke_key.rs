//! `POST /api/v1/keys/{id}/revoke`: a key is good for nothing from now on.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;

use crate::http::answer::written;
use crate::http::api::keys::KeyRecord;
use crate::http::ask::Wish;
use crate::http::door::Shared;
use crate::http::error::{DoorError, found, id};
use crate::http::policy::Act;
use crate::ids::ApiKeyId;
use crate::operations::Thing;

/// Revoke a key
///
/// For the owner of its account and for operators; again, nothing changes.
#[utoipa::path(post, path = "/api/v1/keys/{id}/revoke", operation_id = "ppzRevokeKey", tag = "ppz",
    params(("id" = String, Path, description = "The key's identifier")),
    responses((status = 200, description = "The key, revoked", body = KeyRecord)))]
pub async fn revoke_key(
    State(door): State<Shared>,
    Path(key): Path<String>,
    wish: Wish,
) -> Result<Response, DoorError> {
    let key: ApiKeyId = id(&key, Thing::ApiKey)?;
    let reader = door.tenure.reader();
    let record = found(reader.api_key(key).await, Thing::ApiKey)?;
    // A key of an account that is another tenant's, or that is closed, is not found.
    let hidden = || DoorError::not_found(Thing::ApiKey);
    let account = found(reader.account(record.account_id).await, Thing::ApiKey)?;
    let account = door
        .admit_to(wish.caller, Act::Own, account)
        .await
        .map_err(|error| if error.status() == StatusCode::NOT_FOUND { hidden() } else { error })?;
    let done = door.tenure.revoke_api_key(&wish.context, Some(account.id), key).await?;
    let record = found(reader.api_key(key).await, Thing::ApiKey)?;
    Ok(written(StatusCode::OK, done.checkpoint, KeyRecord::from(record)))
}
