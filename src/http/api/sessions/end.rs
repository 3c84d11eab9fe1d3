//! `DELETE /api/v1/users/{user}/sessions/{id}`: ends a browser session.

use axum::extract::{Path, State};
use axum::response::Response;

use crate::http::error::{ApiError, id, or_not_found};
use crate::http::extract::EmptyCommand;
use crate::http::policy::authorize_self;
use crate::http::response::done;
use crate::http::state::SharedState;
use crate::ids::SessionId;
use crate::operations::Resource;

/// End a session
///
/// Signs the browser out. Ending an ended session changes nothing. For the user and operators.
#[utoipa::path(delete, path = "/api/v1/users/{user}/sessions/{id}", operation_id = "endSession", tag = "sessions",
    params(("user" = String, Path, description = "`me`, or the user's identifier or username"),
        ("id" = String, Path, description = "The session's identifier")),
    responses((status = 204, description = "The session has ended")))]
pub async fn end(
    State(state): State<SharedState>,
    Path((user, session)): Path<(String, String)>,
    command: EmptyCommand,
) -> Result<Response, ApiError> {
    let user = authorize_self(&state, command.caller, &user).await?;
    let session: SessionId = id(&session, Resource::Session)?;
    let record = or_not_found(state.tenure.reader().session_by_id(session).await, Resource::Session)?;
    // The path names a user, too: a session of another user is not found there.
    if record.user_id != user {
        return Err(ApiError::not_found(Resource::Session));
    }
    Ok(done(state.tenure.end_session(&command.context, session).await?.checkpoint))
}
