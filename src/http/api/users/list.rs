//! `GET /api/v1/users`: everybody, for operators.

use axum::Json;
use axum::extract::State;

use super::UserRecord;
use crate::http::ask::{Parameters, Reading};
use crate::http::door::Shared;
use crate::http::error::DoorError;
use crate::http::page::{Page, Paging, cursor};
use crate::ids::UserId;

/// Everybody, oldest first
///
/// For operators.
#[utoipa::path(get, path = "/api/v1/users", operation_id = "listUsers", tag = "users", params(Paging),
    responses((status = 200, description = "A page of people", body = Page<UserRecord>)))]
pub async fn list(
    State(door): State<Shared>,
    reading: Reading,
    Parameters(paging): Parameters<Paging>,
) -> Result<Json<Page<UserRecord>>, DoorError> {
    door.operator(reading.caller).await?;
    let (size, after) = (paging.size()?, paging.after_id(UserId::from_uuid)?);
    let mut users = door.tenure.reader().users_after(after, size + 1).await?;
    let more = users.len() > size;
    users.truncate(size);
    let next_cursor = users.last().filter(|_| more).map(|last| cursor(&last.id.to_string()));
    Ok(Json(Page { items: users.into_iter().map(UserRecord::from).collect(), next_cursor }))
}
