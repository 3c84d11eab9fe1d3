//! `GET /api/v1/accounts/{account}/invites/{id}`: one invite.

use axum::Json;
use axum::extract::{Path, State};

use super::InviteRecord;
use crate::http::ask::Reading;
use crate::http::door::Shared;
use crate::http::error::{DoorError, id};
use crate::http::policy::Act;
use crate::operations::Thing;

/// An invite
///
/// For the account's owner and for operators.
#[utoipa::path(get, path = "/api/v1/accounts/{account}/invites/{id}", operation_id = "getInvite", tag = "invites",
    params(("account" = String, Path, description = "An identifier or a name"),
        ("id" = String, Path, description = "The invite's identifier")),
    responses((status = 200, description = "The invite", body = InviteRecord)))]
pub async fn show(
    State(door): State<Shared>,
    reading: Reading,
    Path((account, invite)): Path<(String, String)>,
) -> Result<Json<InviteRecord>, DoorError> {
    let account = door.admit(reading.caller, Act::Own, &account).await?;
    door.invite_record(account.id, id(&invite, Thing::Invite)?).await.map(Json)
}
