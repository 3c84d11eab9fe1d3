//! `GET /api/v1/accounts/{account}/invites`: lists the invites of an account.

use axum::Json;
use axum::extract::{Path, State};

use super::InviteRecord;
use crate::http::error::ApiError;
use crate::http::extract::{AuthenticatedRead, Parameters};
use crate::http::pagination::{Page, Paging};
use crate::http::policy::Permission;
use crate::http::policy::authorize;
use crate::http::state::SharedState;
use crate::projections::page::TimeKey;

/// List the invites of an account
///
/// Newest first, with invites of every status. For the account's owner and operators.
#[utoipa::path(get, path = "/api/v1/accounts/{account}/invites", operation_id = "listInvites", tag = "invites",
    params(("account" = String, Path, description = "The account's identifier or name"), Paging),
    responses((status = 200, description = "A page of invites", body = Page<InviteRecord>)))]
pub async fn list(
    State(state): State<SharedState>,
    read: AuthenticatedRead,
    Path(account): Path<String>,
    Parameters(paging): Parameters<Paging>,
) -> Result<Json<Page<InviteRecord>>, ApiError> {
    let account = authorize(&state, read.caller, Permission::Administer, &account).await?;
    let (size, before) = (paging.size()?, paging.after_key()?.unwrap_or(TimeKey::NEWEST));
    let invites = state.tenure.reader().invites_before(account.id, before, size + 1).await?;
    let now = state.tenure.clock().now();
    let record = |invite| InviteRecord::at(now, invite, account.name.clone());
    Ok(Json(Page::of(invites, size, |invite| invite.key().to_string(), record)))
}
