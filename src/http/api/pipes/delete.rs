//! `DELETE /api/v1/accounts/{account}/sources/{handle}/pipes/{name}`: a pipe ends.

use axum::extract::{Path, State};
use axum::response::Response;

use crate::http::answer::done;
use crate::http::ask::Wish;
use crate::http::door::Shared;
use crate::http::error::DoorError;
use crate::http::policy::Act;

/// Delete a pipe
///
/// Those that a source has by itself are not found. For keys of the account, members, the owner and operators.
#[utoipa::path(delete, path = "/api/v1/accounts/{account}/sources/{handle}/pipes/{name}",
    operation_id = "deletePipe", tag = "pipes",
    params(("account" = String, Path, description = "An identifier or a name"),
        ("handle" = String, Path, description = "What the source is called"),
        ("name" = String, Path, description = "What the pipe is called")),
    responses((status = 204, description = "It is deleted")))]
pub async fn delete(
    State(door): State<Shared>,
    Path((account, handle, name)): Path<(String, String, String)>,
    wish: Wish,
) -> Result<Response, DoorError> {
    let account = door.admit(wish.caller, Act::UseThings, &account).await?;
    Ok(done(door.tenure.delete_pipe(&wish.context, account.id, &handle, &name).await?.checkpoint))
}
