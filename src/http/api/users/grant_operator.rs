//! `PUT /api/v1/users/{user}/operator`: grants a user operator rights.

use axum::extract::{Path, State};
use axum::response::Response;

use crate::http::api::users::named_user;
use crate::http::error::ApiError;
use crate::http::extract::EmptyCommand;
use crate::http::policy::require_operator;
use crate::http::response::done;
use crate::http::state::SharedState;

/// Grant operator rights
///
/// Changes nothing if the user is already an operator. For operators.
#[utoipa::path(put, path = "/api/v1/users/{user}/operator", operation_id = "grantOperator", tag = "users",
    params(("user" = String, Path, description = "`me`, or the user's identifier or username")),
    responses((status = 204, description = "The user is an operator")))]
pub async fn grant_operator(
    State(state): State<SharedState>,
    Path(user): Path<String>,
    command: EmptyCommand,
) -> Result<Response, ApiError> {
    require_operator(&state, command.caller).await?;
    let user = named_user(&state, command.caller, &user).await?;
    Ok(done(state.tenure.set_operator(&command.context, user, true).await?.checkpoint))
}
