//! `GET /api/v1/events`: everything that has happened, for operators.

use axum::Json;
use axum::extract::State;

use super::{EventPage, Feed};
use crate::http::ask::{Parameters, Reading};
use crate::http::door::Shared;
use crate::http::error::DoorError;

/// Everything that has happened
///
/// For operators.
#[utoipa::path(get, path = "/api/v1/events", operation_id = "listEvents", tag = "events", params(Feed),
    responses((status = 200, description = "A page of events", body = EventPage)))]
pub async fn of_all(
    State(door): State<Shared>,
    reading: Reading,
    Parameters(feed): Parameters<Feed>,
) -> Result<Json<EventPage>, DoorError> {
    door.operator(reading.caller).await?;
    door.feed(feed, None).await
}
