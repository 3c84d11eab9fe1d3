//! `PUT /api/v1/users/{user}/operator`: a person runs the instance.

use axum::extract::{Path, State};
use axum::response::Response;

use crate::http::error::ApiError;
use crate::http::extract::EmptyCommand;
use crate::http::response::done;
use crate::http::state::SharedState;

/// Let a person run the instance
///
/// For operators; again, nothing changes.
#[utoipa::path(put, path = "/api/v1/users/{user}/operator", operation_id = "grantOperator", tag = "users",
    params(("user" = String, Path, description = "`me`, an identifier or a username")),
    responses((status = 204, description = "It is so")))]
pub async fn grant_operator(
    State(state): State<SharedState>,
    Path(user): Path<String>,
    command: EmptyCommand,
) -> Result<Response, ApiError> {
    state.require_operator(command.caller).await?;
    let user = state.user(command.caller, &user).await?;
    Ok(done(state.tenure.set_operator(&command.context, user, true).await?.checkpoint))
}
