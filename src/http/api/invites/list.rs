//! `GET /api/v1/accounts/{account}/invites`: all invites of an account.

use axum::Json;
use axum::extract::{Path, State};

use super::InviteRecord;
use crate::http::error::ApiError;
use crate::http::extract::{AuthenticatedRead, Parameters};
use crate::http::pagination::{Page, Paging};
use crate::http::policy::Permission;
use crate::http::state::SharedState;
use crate::projections::page::TimeKey;

/// All invites of an account, newest first
///
/// For the owner and for operators.
#[utoipa::path(get, path = "/api/v1/accounts/{account}/invites", operation_id = "listInvites", tag = "invites",
    params(("account" = String, Path, description = "An identifier or a name"), Paging),
    responses((status = 200, description = "A page of invites", body = Page<InviteRecord>)))]
pub async fn list(
    State(state): State<SharedState>,
    read: AuthenticatedRead,
    Path(account): Path<String>,
    Parameters(paging): Parameters<Paging>,
) -> Result<Json<Page<InviteRecord>>, ApiError> {
    let account = state.authorize(read.caller, Permission::Administer, &account).await?;
    let (size, before) = (paging.size()?, paging.after_key()?.unwrap_or(TimeKey::NEWEST));
    let invites = state.tenure.reader().invites_before(account.id, before, size + 1).await?;
    let now = state.tenure.clock().now();
    let record = |invite| InviteRecord::at(now, invite, None);
    Ok(Json(Page::of(invites, size, |invite| invite.key().to_string(), record)))
}
