//! `POST /api/v1/orgs/{slug}/invites/{id}/revoke`: an invite is taken back.

use axum::extract::{Path, State};
use axum::response::Response;

use crate::http::answer::done;
use crate::http::ask::Wish;
use crate::http::door::Shared;
use crate::http::error::{DoorError, id};
use crate::http::policy::Act;
use crate::operations::Thing;

/// Take an invite back
///
/// For the owner and for operators.
#[utoipa::path(post, path = "/api/v1/orgs/{slug}/invites/{id}/revoke", operation_id = "ppzRevokeInvite",
    tag = "ppz",
    params(("slug" = String, Path, description = "The account's identifier or name"),
        ("id" = String, Path, description = "The invite's identifier")),
    responses((status = 204, description = "It is taken back")))]
pub async fn revoke_invite(
    State(door): State<Shared>,
    Path((slug, invite)): Path<(String, String)>,
    wish: Wish,
) -> Result<Response, DoorError> {
    let account = door.admit(wish.caller, Act::Own, &slug).await?;
    let invite = id(&invite, Thing::Invite)?;
    Ok(done(door.tenure.revoke_invite(&wish.context, Some(account.id), invite).await?.checkpoint))
}
