//! `PUT /api/v1/accounts/{account}/sources/{handle}/pipes/{name}/retention`: what a pipe keeps.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;

use super::{Keeps, PipeRecord};
use crate::http::answer::written;
use crate::http::ask::Ask;
use crate::http::door::Shared;
use crate::http::error::DoorError;
use crate::http::policy::Act;

/// Change what a pipe keeps
///
/// As a whole: what is not said is left to the server from then on. For keys of the account, members, the owner and
/// operators.
#[utoipa::path(put, path = "/api/v1/accounts/{account}/sources/{handle}/pipes/{name}/retention",
    operation_id = "changePipeRetention", tag = "pipes",
    params(("account" = String, Path, description = "An identifier or a name"),
        ("handle" = String, Path, description = "What the source is called"),
        ("name" = String, Path, description = "What the pipe is called")),
    request_body = Keeps, responses((status = 200, description = "The pipe", body = PipeRecord)))]
pub async fn change(
    State(door): State<Shared>,
    Path((account, handle, name)): Path<(String, String, String)>,
    ask: Ask<Keeps>,
) -> Result<Response, DoorError> {
    let account = door.admit(ask.caller, Act::UseThings, &account).await?;
    let keeps = ask.body.into();
    // What the change leaves as it is.
    let before = door.pipe(account.id, &handle, &name).await?;
    let done = door.tenure.change_pipe_retention(&ask.context, account.id, &handle, &name, keeps).await?;
    let (ttl_seconds, max_msgs, max_bytes) = door.resolved(keeps);
    let pipe = PipeRecord { id: Some(done.answer), ttl_seconds, max_msgs, max_bytes, ..before };
    Ok(written(StatusCode::OK, done.checkpoint, pipe))
}
