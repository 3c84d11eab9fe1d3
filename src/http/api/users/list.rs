//! `GET /api/v1/users`: lists all users, for operators.

use axum::Json;
use axum::extract::State;

use super::UserRecord;
use crate::http::error::ApiError;
use crate::http::extract::{AuthenticatedRead, Parameters};
use crate::http::pagination::{Page, Paging, Wanted};
use crate::http::policy::require_operator;
use crate::http::state::SharedState;
use crate::ids::UserId;

/// List all users
///
/// Oldest first, including forgotten users. For operators.
#[utoipa::path(get, path = "/api/v1/users", operation_id = "listUsers", tag = "users", params(Paging),
    responses((status = 200, description = "A page of users", body = Page<UserRecord>)))]
pub async fn list(
    State(state): State<SharedState>,
    read: AuthenticatedRead,
    Parameters(paging): Parameters<Paging>,
) -> Result<Json<Page<UserRecord>>, ApiError> {
    require_operator(&state, read.caller).await?;
    let Wanted { bounds, after } = paging.wanted(&state).await?;
    let after = after.unwrap_or(UserId::from_uuid(uuid::Uuid::nil()));
    let users = state.tenure.reader().users_after(after, bounds.size + 1).await?;
    Ok(Json(Page::of(&state, users, bounds, |user| user.id.to_string(), UserRecord::from)?))
}
