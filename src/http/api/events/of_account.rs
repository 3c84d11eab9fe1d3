//! `GET /api/v1/accounts/{account}/events`: what has happened in an account.

use axum::Json;
use axum::extract::{Path, State};

use super::{EventPage, Feed};
use crate::http::ask::{Parameters, Reading};
use crate::http::door::Shared;
use crate::http::error::DoorError;
use crate::http::policy::Act;

/// What has happened in an account
///
/// For members, the owner and operators.
#[utoipa::path(get, path = "/api/v1/accounts/{account}/events", operation_id = "listAccountEvents", tag = "events",
    params(("account" = String, Path, description = "An identifier or a name"), Feed),
    responses((status = 200, description = "A page of events", body = EventPage)))]
pub async fn of_account(
    State(door): State<Shared>,
    reading: Reading,
    Path(account): Path<String>,
    Parameters(feed): Parameters<Feed>,
) -> Result<Json<EventPage>, DoorError> {
    let account = door.admit(reading.caller, Act::History, &account).await?;
    door.feed(feed, Some(account.id.as_uuid())).await
}
