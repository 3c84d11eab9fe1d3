//! `DELETE /api/v1/users/{user}/tokens/{id}`: a token is good for nothing from now on.

use axum::extract::{Path, State};
use axum::response::Response;

use crate::http::error::{ApiError, id, or_not_found};
use crate::http::extract::EmptyCommand;
use crate::http::response::done;
use crate::http::state::SharedState;
use crate::ids::BearerTokenId;
use crate::operations::Resource;

/// Revoke a token
///
/// For the person and for operators; again, nothing changes.
#[utoipa::path(delete, path = "/api/v1/users/{user}/tokens/{id}", operation_id = "revokeToken", tag = "tokens",
    params(("user" = String, Path, description = "`me`, an identifier or a username"),
        ("id" = String, Path, description = "The token's identifier")),
    responses((status = 204, description = "It is revoked")))]
pub async fn revoke(
    State(state): State<SharedState>,
    Path((user, token)): Path<(String, String)>,
    command: EmptyCommand,
) -> Result<Response, ApiError> {
    let user = state.authorize_self(command.caller, &user).await?;
    let token: BearerTokenId = id(&token, Resource::BearerToken)?;
    let record = or_not_found(state.tenure.reader().bearer_token_by_id(token).await, Resource::BearerToken)?;
    if record.user_id != user {
        return Err(ApiError::not_found(Resource::BearerToken));
    }
    Ok(done(state.tenure.revoke_bearer_token(&command.context, token).await?.checkpoint))
}
