//! `DELETE /api/v1/accounts/{account}/keys/{id}`: a key is good for nothing from now on.

use axum::extract::{Path, State};
use axum::response::Response;

use crate::http::answer::done;
use crate::http::ask::Wish;
use crate::http::door::Shared;
use crate::http::error::{DoorError, id};
use crate::http::policy::Act;
use crate::operations::Thing;

/// Revoke a key
///
/// For the account's owner and for operators; again, nothing changes.
#[utoipa::path(delete, path = "/api/v1/accounts/{account}/keys/{id}", operation_id = "revokeKey", tag = "keys",
    params(("account" = String, Path, description = "An identifier or a name"),
        ("id" = String, Path, description = "The key's identifier")),
    responses((status = 204, description = "It is revoked")))]
pub async fn revoke(
    State(door): State<Shared>,
    Path((account, key)): Path<(String, String)>,
    wish: Wish,
) -> Result<Response, DoorError> {
    let account = door.admit(wish.caller, Act::Own, &account).await?;
    let key = id(&key, Thing::ApiKey)?;
    Ok(done(door.tenure.revoke_api_key(&wish.context, Some(account.id), key).await?.checkpoint))
}
