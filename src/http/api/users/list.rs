//! `GET /api/v1/users`: everybody, for operators.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::UserRecord;
use crate::http::ask::{Parameters, Reading};
use crate::http::door::Shared;
use crate::http::error::DoorError;
use crate::http::page::Paging;

/// Which page.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct UsersPaging {
    /// How many people at most [default: 50].
    #[param(minimum = 1, maximum = 200)]
    pub limit: Option<u32>,
    /// `next_cursor` of the page before.
    #[param(minimum = 0)]
    pub cursor: Option<i64>,
}

/// A page of people.
#[derive(Serialize, ToSchema)]
pub struct UserPage {
    /// The people.
    pub items: Vec<UserRecord>,
    /// Where the next page begins; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<i64>,
}

/// Everybody, oldest first
///
/// For operators.
#[utoipa::path(get, path = "/api/v1/users", operation_id = "listUsers", tag = "users", params(UsersPaging),
    responses((status = 200, description = "A page of people", body = UserPage)))]
pub async fn list(
    State(door): State<Shared>,
    reading: Reading,
    Parameters(UsersPaging { limit, cursor }): Parameters<UsersPaging>,
) -> Result<Json<UserPage>, DoorError> {
    door.operator(reading.caller).await?;
    let size = Paging { limit, cursor: None }.size()?;
    let after = cursor.unwrap_or(0);
    if after < 0 {
        return Err(DoorError::field("cursor", "`next_cursor` of the page before"));
    }
    let mut users = door.tenure.reader().users_after(after, size + 1).await?;
    let more = users.len() > size;
    users.truncate(size);
    let next_cursor = users.last().filter(|_| more).map(|last| last.position);
    Ok(Json(UserPage { items: users.into_iter().map(UserRecord::from).collect(), next_cursor }))
}
