//! `GET /api/v1/invites`: the invites that wait for whoever asks.

use axum::extract::State;
use axum::response::Response;
use futures::TryStreamExt as _;

use super::Invites;
use crate::http::api::invites::InviteRecord;
use crate::http::ask::Reading;
use crate::http::door::Shared;
use crate::http::error::{DoorError, found};
use crate::operations::Thing;
use crate::projections::invites::InviteWithAccount;

/// The pending invites of whoever asks, oldest first
#[utoipa::path(get, path = "/api/v1/invites", operation_id = "ppzMyInvites", tag = "ppz",
    responses((status = 200, description = "The invites", body = Invites)))]
pub async fn my_invites(State(door): State<Shared>, reading: Reading) -> Result<Response, DoorError> {
    let me = reading.caller.person()?;
    let (reader, now) = (door.tenure.reader(), door.tenure.clock().now());
    let username = found(reader.user(me).await, Thing::User)?.username;
    let invites = reader.pending_invites_for_username(&username, now);
    let record =
        move |found: InviteWithAccount| InviteRecord::at(now, found.invite, Some(found.account_name));
    door.whole_lists.answer(reading.caller, "invites", invites.map_ok(record)).await
}
