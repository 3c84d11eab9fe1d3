//! `DELETE /api/v1/users/{user}`: a person is forgotten.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;

use crate::http::error::ApiError;
use crate::http::extract::EmptyCommand;
use crate::http::response::written;
use crate::http::state::SharedState;
use crate::ids::ApiKeyId;
use crate::operations::EndedKeys;

/// What went with a person.
#[derive(Serialize, ToSchema)]
pub struct Forgotten {
    /// How many API keys ended with it.
    pub revoked_api_key_count: u64,
    /// The oldest of them, at most 1,000.
    pub revoked_api_keys: Vec<ApiKeyId>,
}

/// Forget a person
///
/// For the person and for operators. Ends their sessions, tokens, memberships and invites in one step, and destroys the
/// key of what the log says of them. Whoever owns an account (`user.owns_accounts`) transfers or closes it first.
#[utoipa::path(delete, path = "/api/v1/users/{user}", operation_id = "forgetUser", tag = "users",
    params(("user" = String, Path, description = "`me`, an identifier or a username")),
    responses((status = 200, description = "What went with the person", body = Forgotten)))]
pub async fn forget(
    State(state): State<SharedState>,
    Path(user): Path<String>,
    command: EmptyCommand,
) -> Result<Response, ApiError> {
    let user = state.authorize_self(command.caller, &user).await?;
    let done = state.tenure.forget_user(&command.context, user).await?;
    let EndedKeys { count, first } = done.answer;
    Ok(written(
        StatusCode::OK,
        done.checkpoint,
        Forgotten { revoked_api_key_count: count, revoked_api_keys: first },
    ))
}
