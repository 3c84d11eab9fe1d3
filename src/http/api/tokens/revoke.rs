//! `DELETE /api/v1/users/{user}/tokens/{id}`: a token is good for nothing from now on.

use axum::extract::{Path, State};
use axum::response::Response;

use crate::http::answer::done;
use crate::http::ask::Wish;
use crate::http::door::Shared;
use crate::http::error::{DoorError, found, id};
use crate::ids::BearerTokenId;
use crate::operations::Thing;

/// Revoke a token
///
/// For the person and for operators; again, nothing changes.
#[utoipa::path(delete, path = "/api/v1/users/{user}/tokens/{id}", operation_id = "revokeToken", tag = "tokens",
    params(("user" = String, Path, description = "`me`, an identifier or a username"),
        ("id" = String, Path, description = "The token's identifier")),
    responses((status = 204, description = "It is revoked")))]
pub async fn revoke(
    State(door): State<Shared>,
    Path((user, token)): Path<(String, String)>,
    wish: Wish,
) -> Result<Response, DoorError> {
    let user = door.oneself(wish.caller, &user).await?;
    let token: BearerTokenId = id(&token, Thing::BearerToken)?;
    let record = found(door.tenure.reader().bearer_token_by_id(token).await, Thing::BearerToken)?;
    if record.user_id != user {
        return Err(DoorError::not_found(Thing::BearerToken));
    }
    Ok(done(door.tenure.revoke_bearer_token(&wish.context, token).await?.checkpoint))
}
