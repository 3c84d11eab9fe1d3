//! `GET /api/v1/events`: lists all events, for operators.

use axum::Json;
use axum::extract::State;

use super::{EventPage, Feed};
use crate::http::api::events::feed;
use crate::http::error::ApiError;
use crate::http::extract::{AuthenticatedRead, Parameters};
use crate::http::policy::require_operator;
use crate::http::state::SharedState;

/// List all events
///
/// For operators.
#[utoipa::path(get, path = "/api/v1/events", operation_id = "listEvents", tag = "events", params(Feed),
    responses((status = 200, description = "A page of events", body = EventPage)))]
pub async fn of_all(
    State(state): State<SharedState>,
    read: AuthenticatedRead,
    Parameters(query): Parameters<Feed>,
) -> Result<Json<EventPage>, ApiError> {
    require_operator(&state, read.caller).await?;
    feed(&state, query, None).await
}
