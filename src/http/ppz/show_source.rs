//! `GET /api/v1/sources/{handle}`: one source.

use axum::Json;
use axum::extract::{Path, State};
use serde::Serialize;
use utoipa::ToSchema;

use super::{LastBroadcast, Org};
use crate::http::ask::{Parameters, Reading};
use crate::http::door::Shared;
use crate::http::error::DoorError;

/// A source.
#[derive(Serialize, ToSchema)]
pub struct Shown {
    handle: String,
    kind: &'static str,
    #[serde(flatten)]
    last_broadcast: LastBroadcast,
}

/// A source
///
/// For keys of the account and whoever belongs to it.
#[utoipa::path(get, path = "/api/v1/sources/{handle}", operation_id = "ppzGetSource", tag = "ppz",
    params(("handle" = String, Path, description = "What the source is called"), Org),
    responses((status = 200, description = "The source", body = Shown)))]
pub async fn show_source(
    State(door): State<Shared>,
    reading: Reading,
    Path(handle): Path<String>,
    Parameters(org): Parameters<Org>,
) -> Result<Json<Shown>, DoorError> {
    let account = door.org(reading.caller, org.org.as_deref()).await?;
    let source = door.source(account, &handle).await?;
    Ok(Json(Shown {
        handle: source.handle,
        kind: source.kind.as_str(),
        last_broadcast: LastBroadcast {
            last_broadcast_at: source.last_broadcast_at,
            last_broadcast_payload: source.last_broadcast_payload,
        },
    }))
}
