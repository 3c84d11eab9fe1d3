//! `DELETE /api/v1/users/{user}/tokens/{id}`: revokes a bearer token.

use axum::extract::{Path, State};
use axum::response::Response;

use crate::http::error::{ApiError, id, or_not_found};
use crate::http::extract::EmptyCommand;
use crate::http::policy::authorize_self;
use crate::http::response::done;
use crate::http::state::SharedState;
use crate::ids::BearerTokenId;
use crate::operations::Resource;

/// Revoke a bearer token
///
/// Revoking a revoked token changes nothing. For the user and operators.
#[utoipa::path(delete, path = "/api/v1/users/{user}/tokens/{id}", operation_id = "revokeToken", tag = "tokens",
    params(("user" = String, Path, description = "`me`, or the user's identifier or username"),
        ("id" = String, Path, description = "The token's identifier")),
    responses((status = 204, description = "The bearer token is revoked")))]
pub async fn revoke(
    State(state): State<SharedState>,
    Path((user, token)): Path<(String, String)>,
    command: EmptyCommand,
) -> Result<Response, ApiError> {
    let user = authorize_self(&state, command.caller, &user).await?;
    let token: BearerTokenId = id(&token, Resource::BearerToken)?;
    let record = or_not_found(state.tenure.reader().bearer_token_by_id(token).await, Resource::BearerToken)?;
    // The path names a user, too: a token of another user is not found there.
    if record.user_id != user {
        return Err(ApiError::not_found(Resource::BearerToken));
    }
    Ok(done(state.tenure.revoke_bearer_token(&command.context, token).await?.checkpoint))
}
