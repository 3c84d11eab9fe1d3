//! `GET /api/v1/accounts/{account}/events`: what has happened in an account.

use axum::Json;
use axum::extract::{Path, State};

use super::{EventPage, Feed};
use crate::http::error::ApiError;
use crate::http::extract::{AuthenticatedRead, Parameters};
use crate::http::policy::Permission;
use crate::http::state::SharedState;

/// What has happened in an account
///
/// For members, the owner and operators.
#[utoipa::path(get, path = "/api/v1/accounts/{account}/events", operation_id = "listAccountEvents", tag = "events",
    params(("account" = String, Path, description = "An identifier or a name"), Feed),
    responses((status = 200, description = "A page of events", body = EventPage)))]
pub async fn of_account(
    State(state): State<SharedState>,
    read: AuthenticatedRead,
    Path(account): Path<String>,
    Parameters(feed): Parameters<Feed>,
) -> Result<Json<EventPage>, ApiError> {
    let account = state.authorize(read.caller, Permission::ReadHistory, &account).await?;
    state.feed(feed, Some(account.id.as_uuid())).await
}
