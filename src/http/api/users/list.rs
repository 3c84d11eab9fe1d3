//! `GET /api/v1/users`: everybody, for operators.

use axum::Json;
use axum::extract::State;

use super::UserRecord;
use crate::http::ask::{Parameters, Reading};
use crate::http::door::Shared;
use crate::http::error::DoorError;
use crate::http::page::{Page, Paging};
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
    let (size, after) = (paging.size()?, paging.after_key()?);
    let after = after.unwrap_or(UserId::from_uuid(uuid::Uuid::nil()));
    let users = door.tenure.reader().users_after(after, size + 1).await?;
    Ok(Json(Page::of(users, size, |user| user.id.to_string(), UserRecord::from)))
}
