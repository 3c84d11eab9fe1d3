//! `DELETE /api/v1/accounts/{account}/invites/{id}`: an invite is taken back.

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
/// For the account's owner and for operators; only as long as it is pending.
#[utoipa::path(delete, path = "/api/v1/accounts/{account}/invites/{id}", operation_id = "revokeInvite",
    tag = "invites",
    params(("account" = String, Path, description = "An identifier or a name"),
        ("id" = String, Path, description = "The invite's identifier")),
    responses((status = 204, description = "It is taken back")))]
pub async fn revoke(
    State(door): State<Shared>,
    Path((account, invite)): Path<(String, String)>,
    wish: Wish,
) -> Result<Response, DoorError> {
    let account = door.admit(wish.caller, Act::Own, &account).await?;
    let invite = id(&invite, Thing::Invite)?;
    Ok(done(door.tenure.revoke_invite(&wish.context, Some(account.id), invite).await?.checkpoint))
}
