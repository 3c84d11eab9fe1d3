//! `GET /api/v1/events`: everything that has happened, for operators.

use axum::Json;
use axum::extract::State;

use super::{EventPage, Feed};
use crate::http::error::ApiError;
use crate::http::extract::{AuthenticatedRead, Parameters};
use crate::http::state::SharedState;

/// Everything that has happened
///
/// For operators.
#[utoipa::path(get, path = "/api/v1/events", operation_id = "listEvents", tag = "events", params(Feed),
    responses((status = 200, description = "A page of events", body = EventPage)))]
pub async fn of_all(
    State(state): State<SharedState>,
    read: AuthenticatedRead,
    Parameters(feed): Parameters<Feed>,
) -> Result<Json<EventPage>, ApiError> {
    state.require_operator(read.caller).await?;
    state.feed(feed, None).await
}
