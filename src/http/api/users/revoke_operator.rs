//! `DELETE /api/v1/users/{user}/operator`: revokes the operator rights of a user.

use axum::extract::{Path, State};
use axum::response::Response;

use crate::http::api::users::named_user;
use crate::http::error::ApiError;
use crate::http::extract::EmptyCommand;
use crate::http::policy::require_operator;
use crate::http::response::done;
use crate::http::state::SharedState;

/// Revoke operator rights
///
/// Changes nothing if the user is not an operator. For operators.
#[utoipa::path(delete, path = "/api/v1/users/{user}/operator", operation_id = "revokeOperator", tag = "users",
    params(("user" = String, Path, description = "`me`, or the user's identifier or username")),
    responses((status = 204, description = "The user is not an operator")))]
pub async fn revoke_operator(
    State(state): State<SharedState>,
    Path(user): Path<String>,
    command: EmptyCommand,
) -> Result<Response, ApiError> {
    require_operator(&state, command.caller).await?;
    let user = named_user(&state, command.caller, &user).await?;
    Ok(done(state.tenure.set_operator(&command.context, user, false).await?.checkpoint))
}
