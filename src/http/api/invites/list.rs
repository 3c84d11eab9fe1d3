//! `GET /api/v1/accounts/{account}/invites`: all invites of an account.

use axum::Json;
use axum::extract::{Path, State};

use super::InviteRecord;
use crate::http::ask::{Parameters, Reading};
use crate::http::door::Shared;
use crate::http::error::DoorError;
use crate::http::page::{Page, Paging};
use crate::http::policy::Act;
use crate::projections::page::TimeKey;

/// All invites of an account, newest first
///
/// For the owner and for operators.
#[utoipa::path(get, path = "/api/v1/accounts/{account}/invites", operation_id = "listInvites", tag = "invites",
    params(("account" = String, Path, description = "An identifier or a name"), Paging),
    responses((status = 200, description = "A page of invites", body = Page<InviteRecord>)))]
pub async fn list(
    State(door): State<Shared>,
    reading: Reading,
    Path(account): Path<String>,
    Parameters(paging): Parameters<Paging>,
) -> Result<Json<Page<InviteRecord>>, DoorError> {
    let account = door.admit(reading.caller, Act::Own, &account).await?;
    let (size, before) = (paging.size()?, paging.after_key()?.unwrap_or(TimeKey::NEWEST));
    let invites = door.tenure.reader().invites_before(account.id, before, size + 1).await?;
    let now = door.tenure.clock().now();
    let record = |invite| InviteRecord::at(now, invite, None);
    Ok(Json(Page::of(invites, size, |invite| invite.key().to_string(), record)))
}
