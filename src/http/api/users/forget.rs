//! `DELETE /api/v1/users/{user}`: forgets a user.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;

use crate::http::error::ApiError;
use crate::http::extract::EmptyCommand;
use crate::http::policy::authorize_self;
use crate::http::response::written;
use crate::http::state::SharedState;
use crate::ids::ApiKeyId;
use crate::operations::EndedKeys;

/// The API keys that were revoked with a user.
#[derive(Serialize, ToSchema)]
pub struct ForgottenUser {
    /// The number of API keys revoked with the user.
    pub revoked_api_key_count: u64,
    /// The identifiers of the revoked API keys: the oldest 1,000 if there are more.
    pub revoked_api_keys: Vec<ApiKeyId>,
}

/// Forget a user
///
/// Ends the user's sessions, tokens, memberships and invites in one step, with the API keys that they minted as a
/// member, and destroys the data key of their personal data in the log. A user who owns accounts is refused
/// (`user.owns_accounts`): transfer or close the accounts first. For the user and operators.
#[utoipa::path(delete, path = "/api/v1/users/{user}", operation_id = "forgetUser", tag = "users",
    params(("user" = String, Path, description = "`me`, or the user's identifier or username")),
    responses((status = 200, description = "The API keys that were revoked with the user", body = ForgottenUser)))]
pub async fn forget(
    State(state): State<SharedState>,
    Path(user): Path<String>,
    command: EmptyCommand,
) -> Result<Response, ApiError> {
    let user = authorize_self(&state, command.caller, &user).await?;
    let done = state.tenure.forget_user(&command.context, user).await?;
    let EndedKeys { count, first } = done.answer;
    Ok(written(
        StatusCode::OK,
        done.checkpoint,
        ForgottenUser { revoked_api_key_count: count, revoked_api_keys: first },
    ))
}
