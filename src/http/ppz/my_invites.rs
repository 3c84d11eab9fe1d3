//! `GET /api/v1/invites`: lists the caller's pending invites.

use axum::extract::State;
use axum::response::Response;
use futures::TryStreamExt as _;

use super::shared::PpzInviteList;
use crate::http::api::invites::InviteRecord;
use crate::http::error::{ApiError, or_not_found};
use crate::http::extract::AuthenticatedRead;
use crate::http::state::SharedState;
use crate::operations::Resource;
use crate::projections::invites::InviteWithAccount;

/// List your pending invites
///
/// Oldest first, with the name of each account. For users.
#[utoipa::path(get, path = "/api/v1/invites", operation_id = "ppzMyInvites", tag = "ppz",
    responses((status = 200, description = "The invites", body = PpzInviteList)))]
pub async fn my_invites(
    State(state): State<SharedState>,
    read: AuthenticatedRead,
) -> Result<Response, ApiError> {
    let me = read.caller.person()?;
    let (reader, now) = (state.tenure.reader(), state.tenure.clock().now());
    let username = or_not_found(reader.user(me).await, Resource::User)?.username;
    let invites = reader.pending_invites_for_username(&username, now);
    let record = move |found: InviteWithAccount| InviteRecord::at(now, found.invite, found.account_name);
    state.unpaged_lists.answer(read.caller.id(), "invites", invites.map_ok(record)).await
}
