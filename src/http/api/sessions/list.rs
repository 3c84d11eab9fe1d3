//! `GET /api/v1/users/{user}/sessions`: all sessions of a person.

use axum::Json;
use axum::extract::{Path, State};

use super::SessionRecord;
use crate::http::ask::{Parameters, Reading};
use crate::http::door::Shared;
use crate::http::error::DoorError;
use crate::http::page::{Page, Paging};
use crate::projections::page::TimeKey;

/// All sessions of a person, oldest first
///
/// For the person and for operators; ended and expired ones too.
#[utoipa::path(get, path = "/api/v1/users/{user}/sessions", operation_id = "listSessions", tag = "sessions",
    params(("user" = String, Path, description = "`me`, an identifier or a username"), Paging),
    responses((status = 200, description = "A page of sessions", body = Page<SessionRecord>)))]
pub async fn list(
    State(door): State<Shared>,
    reading: Reading,
    Path(user): Path<String>,
    Parameters(paging): Parameters<Paging>,
) -> Result<Json<Page<SessionRecord>>, DoorError> {
    let user = door.oneself(reading.caller, &user).await?;
    let (size, after) = (paging.size()?, paging.after_key()?.unwrap_or(TimeKey::OLDEST));
    let rows = door.tenure.reader().sessions_after(user, after, size + 1).await?;
    Ok(Json(Page::of(rows, size, |row| row.key().to_string(), SessionRecord::from)))
}
