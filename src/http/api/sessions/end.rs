//! `DELETE /api/v1/users/{user}/sessions/{id}`: a browser is signed out.

use axum::extract::{Path, State};
use axum::response::Response;

use crate::http::error::{ApiError, id, or_not_found};
use crate::http::extract::EmptyCommand;
use crate::http::response::done;
use crate::http::state::SharedState;
use crate::ids::SessionId;
use crate::operations::Resource;

/// End a session
///
/// For the person and for operators; again, nothing changes.
#[utoipa::path(delete, path = "/api/v1/users/{user}/sessions/{id}", operation_id = "endSession", tag = "sessions",
    params(("user" = String, Path, description = "`me`, an identifier or a username"),
        ("id" = String, Path, description = "The session's identifier")),
    responses((status = 204, description = "It is over")))]
pub async fn end(
    State(state): State<SharedState>,
    Path((user, session)): Path<(String, String)>,
    command: EmptyCommand,
) -> Result<Response, ApiError> {
    let user = state.authorize_self(command.caller, &user).await?;
    let session: SessionId = id(&session, Resource::Session)?;
    let record = or_not_found(state.tenure.reader().session_by_id(session).await, Resource::Session)?;
    if record.user_id != user {
        return Err(ApiError::not_found(Resource::Session));
    }
    Ok(done(state.tenure.end_session(&command.context, session).await?.checkpoint))
}
