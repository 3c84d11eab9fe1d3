//! `DELETE /api/v1/accounts/{account}/sources/{handle}`: a source ends with its pipes.

use axum::extract::{Path, State};
use axum::response::Response;

use crate::http::answer::done;
use crate::http::ask::Wish;
use crate::http::door::Shared;
use crate::http::error::DoorError;
use crate::http::policy::Act;

/// Delete a source and its pipes
///
/// A later source of that handle is another one. For keys of the account, members, the owner and operators.
#[utoipa::path(delete, path = "/api/v1/accounts/{account}/sources/{handle}", operation_id = "deleteSource",
    tag = "sources",
    params(("account" = String, Path, description = "An identifier or a name"),
        ("handle" = String, Path, description = "What the source is called")),
    responses((status = 204, description = "It is deleted")))]
pub async fn delete(
    State(door): State<Shared>,
    Path((account, handle)): Path<(String, String)>,
    wish: Wish,
) -> Result<Response, DoorError> {
    let account = door.admit(wish.caller, Act::UseThings, &account).await?;
    Ok(done(door.tenure.delete_source(&wish.context, account.id, &handle).await?.checkpoint))
}
