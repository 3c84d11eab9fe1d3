//! `DELETE /api/v1/users/{user}/sessions/{id}`: a browser is signed out.

use axum::extract::{Path, State};
use axum::response::Response;

use crate::http::answer::done;
use crate::http::ask::Wish;
use crate::http::door::Shared;
use crate::http::error::{DoorError, found, id};
use crate::ids::SessionId;
use crate::operations::Thing;

/// End a session
///
/// For the person and for operators; again, nothing changes.
#[utoipa::path(delete, path = "/api/v1/users/{user}/sessions/{id}", operation_id = "endSession", tag = "sessions",
    params(("user" = String, Path, description = "`me`, an identifier or a username"),
        ("id" = String, Path, description = "The session's identifier")),
    responses((status = 204, description = "It is over")))]
pub async fn end(
    State(door): State<Shared>,
    Path((user, session)): Path<(String, String)>,
    wish: Wish,
) -> Result<Response, DoorError> {
    let user = door.oneself(wish.caller, &user).await?;
    let session: SessionId = id(&session, Thing::Session)?;
    let record = found(door.tenure.reader().session_by_id(session).await, Thing::Session)?;
    if record.user_id != user {
        return Err(DoorError::not_found(Thing::Session));
    }
    Ok(done(door.tenure.end_session(&wish.context, session).await?.checkpoint))
}
