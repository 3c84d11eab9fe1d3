//! `GET /api/v1/accounts/{account}/invites`: lists the invites of an account.

use axum::extract::{Path, State};

use super::InviteRecord;
use crate::http::as_of::{PagingAsOf, Shown, view_page};
use crate::http::error::ApiError;
use crate::http::extract::{AuthenticatedRead, Parameters};
use crate::http::pagination::{Page, Wanted};
use crate::http::policy::Permission;
use crate::http::state::SharedState;
use crate::projections::page::TimeKey;

/// List the invites of an account
///
/// Newest first, with invites of every status. For the account's owner and operators.
#[utoipa::path(get, path = "/api/v1/accounts/{account}/invites", operation_id = "listInvites", tag = "invites",
    params(("account" = String, Path, description = "The account's identifier or name"), PagingAsOf),
    responses((status = 200, description = "A page of invites", body = Page<InviteRecord>)))]
pub async fn list(
    State(state): State<SharedState>,
    read: AuthenticatedRead,
    Path(account): Path<String>,
    Parameters(query): Parameters<PagingAsOf>,
) -> Result<Shown<Page<InviteRecord>>, ApiError> {
    let (view, Wanted { bounds, after }) =
        view_page(&state, read.caller, Permission::Administer, &account, query).await?;
    let before = after.unwrap_or(TimeKey::NEWEST);
    let invites = view.reader.invites_before(view.now.id, before, bounds.size + 1).await?;
    let record = |invite| InviteRecord::at(view.at, invite, view.account.name.clone());
    Ok(view.show(Page::of(&state, invites, bounds, |invite| invite.key().to_string(), record)?))
}
