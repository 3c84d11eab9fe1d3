//! `GET /api/v1/orgs/{slug}/invites`: lists the invites of an account.

use axum::extract::{Path, State};
use axum::response::Response;
use futures::TryStreamExt as _;

use super::named::Named;
use super::shared::PpzInviteList;
use crate::http::api::invites::InviteRecord;
use crate::http::error::ApiError;
use crate::http::extract::AuthenticatedRead;
use crate::http::policy::Permission;
use crate::http::policy::authorize;
use crate::http::state::SharedState;

/// List the invites of an account
///
/// Newest first, with invites of every status. For the account's owner and operators.
#[utoipa::path(get, path = "/api/v1/orgs/{slug}/invites", operation_id = "ppzListInvites", tag = "ppz",
    params(("slug" = String, Path, description = "The account's identifier or name")),
    responses((status = 200, description = "The invites", body = PpzInviteList)))]
pub async fn account_invites(
    State(state): State<SharedState>,
    read: AuthenticatedRead,
    Path(slug): Path<String>,
) -> Result<Response, ApiError> {
    let named = Named { account: &slug, ..Named::default() };
    let account = authorize(&state, read.caller, Permission::Administer, &slug)
        .await
        .map_err(|error| named.in_error(error))?;
    let now = state.tenure.clock().now();
    let invites = state.tenure.reader().invites_for_account(account.id);
    state
        .unpaged_lists
        .answer(
            read.caller.id(),
            "invites",
            invites.map_ok(move |invite| InviteRecord::at(now, invite, account.name.clone())),
        )
        .await
}
