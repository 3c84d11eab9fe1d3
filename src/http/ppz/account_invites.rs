//! `GET /api/v1/orgs/{slug}/invites`: all invites of an account.

use axum::extract::{Path, State};
use axum::response::Response;
use futures::TryStreamExt as _;

use super::Invites;
use crate::http::api::invites::InviteRecord;
use crate::http::ask::Reading;
use crate::http::door::Shared;
use crate::http::error::DoorError;
use crate::http::policy::Act;

/// All invites of an account, newest first
///
/// For the owner and for operators.
#[utoipa::path(get, path = "/api/v1/orgs/{slug}/invites", operation_id = "ppzListInvites", tag = "ppz",
    params(("slug" = String, Path, description = "The account's identifier or name")),
    responses((status = 200, description = "The invites", body = Invites)))]
pub async fn account_invites(
    State(door): State<Shared>,
    reading: Reading,
    Path(slug): Path<String>,
) -> Result<Response, DoorError> {
    let account = door.admit(reading.caller, Act::Own, &slug).await?;
    let now = door.tenure.clock().now();
    let invites = door.tenure.reader().invites_for_account(account.id);
    door.whole_lists
        .answer(reading.caller, "invites", invites.map_ok(move |invite| InviteRecord::at(now, invite, None)))
        .await
}
