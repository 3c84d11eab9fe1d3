//! `POST /api/v1/invites/{id}/decline`: an invite is declined by its person.

use axum::extract::{Path, State};
use axum::response::Response;

use crate::http::answer::done;
use crate::http::ask::Wish;
use crate::http::door::Shared;
use crate::http::error::{DoorError, id};
use crate::operations::Thing;

/// Decline an invite
///
/// For the person whom it is addressed to.
#[utoipa::path(post, path = "/api/v1/invites/{id}/decline", operation_id = "ppzDeclineInvite", tag = "ppz",
    params(("id" = String, Path, description = "The invite's identifier")),
    responses((status = 204, description = "Done")))]
pub async fn decline_invite(
    State(door): State<Shared>,
    Path(invite): Path<String>,
    wish: Wish,
) -> Result<Response, DoorError> {
    let me = wish.caller.person()?;
    let invite = id(&invite, Thing::Invite)?;
    Ok(done(door.tenure.decline_invite(&wish.context, invite, me).await?.checkpoint))
}
