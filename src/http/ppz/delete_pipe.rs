//! `DELETE /api/v1/sources/{handle}/pipes/{name}`: a pipe ends.

use axum::extract::{Path, State};
use axum::response::Response;

use super::Org;
use crate::http::answer::done;
use crate::http::ask::{Parameters, Wish};
use crate::http::door::Shared;
use crate::http::error::DoorError;

/// Delete a pipe
///
/// For keys of the account and whoever belongs to it.
#[utoipa::path(delete, path = "/api/v1/sources/{handle}/pipes/{name}", operation_id = "ppzDeletePipe",
    tag = "ppz",
    params(("handle" = String, Path, description = "What the source is called"),
        ("name" = String, Path, description = "What the pipe is called"), Org),
    responses((status = 204, description = "It is deleted")))]
pub async fn delete_pipe(
    State(door): State<Shared>,
    Path((handle, name)): Path<(String, String)>,
    Parameters(org): Parameters<Org>,
    wish: Wish,
) -> Result<Response, DoorError> {
    let account = door.org(wish.caller, org.org.as_deref()).await?;
    Ok(done(door.tenure.delete_pipe(&wish.context, account, &handle, &name).await?.checkpoint))
}
