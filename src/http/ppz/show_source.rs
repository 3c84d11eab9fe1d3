//! `GET /api/v1/sources/{handle}`: one source.

use axum::Json;
use axum::extract::{Path, State};
use serde::Serialize;
use utoipa::ToSchema;

use super::shared::{LastBroadcast, Org};
use crate::http::error::ApiError;
use crate::http::extract::{AuthenticatedRead, Parameters};
use crate::http::state::SharedState;

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
    State(state): State<SharedState>,
    read: AuthenticatedRead,
    Path(handle): Path<String>,
    Parameters(org): Parameters<Org>,
) -> Result<Json<Shown>, ApiError> {
    let account = state.acting_account(read.caller, org.org.as_deref()).await?;
    let source = state.source(account, &handle).await?;
    Ok(Json(Shown {
        handle: source.handle,
        kind: source.kind.as_str(),
        last_broadcast: LastBroadcast {
            last_broadcast_at: source.last_broadcast_at,
            last_broadcast_payload: source.last_broadcast_payload,
        },
    }))
}
