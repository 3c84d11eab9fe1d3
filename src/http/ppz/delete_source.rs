//! `DELETE /api/v1/sources/{handle}`: a source ends with its pipes.

use axum::extract::{Path, State};
use axum::response::Response;

use super::Org;
use crate::http::answer::done;
use crate::http::ask::{Parameters, Wish};
use crate::http::door::Shared;
use crate::http::error::DoorError;

/// Delete a source and its pipes
///
/// For keys of the account and whoever belongs to it.
#[utoipa::path(delete, path = "/api/v1/sources/{handle}", operation_id = "ppzDeleteSource", tag = "ppz",
    params(("handle" = String, Path, description = "What the source is called"), Org),
    responses((status = 204, description = "It is deleted")))]
pub async fn delete_source(
    State(door): State<Shared>,
    Path(handle): Path<String>,
    Parameters(org): Parameters<Org>,
    wish: Wish,
) -> Result<Response, DoorError> {
    let account = door.org(wish.caller, org.org.as_deref()).await?;
    Ok(done(door.tenure.delete_source(&wish.context, account, &handle).await?.checkpoint))
}
