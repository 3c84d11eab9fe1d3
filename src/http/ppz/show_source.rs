//! `GET /api/v1/sources/{handle}`: returns one source.

use axum::Json;
use axum::extract::{Path, State};
use serde::Serialize;
use utoipa::ToSchema;

use super::named::Named;
use super::shared::{LastBroadcast, Org};
use crate::http::api::sources::source_by_handle;
use crate::http::error::ApiError;
use crate::http::extract::AuthenticatedRead;
use crate::http::policy::{Permission, acting_account};
use crate::http::state::SharedState;

/// A source with its last broadcast.
#[derive(Serialize, ToSchema)]
pub struct PpzSource {
    /// The source's handle, unique in its account.
    handle: String,
    /// The kind of source: `message` or `pty`.
    kind: &'static str,
    #[serde(flatten)]
    last_broadcast: LastBroadcast,
}

/// Get a source
///
/// For API keys of the account, its members and owner, and operators who name the account in `org`.
#[utoipa::path(get, path = "/api/v1/sources/{handle}", operation_id = "ppzGetSource", tag = "ppz",
    params(("handle" = String, Path, description = "The source's handle"), Org),
    responses((status = 200, description = "The source", body = PpzSource)))]
pub async fn show_source(
    State(state): State<SharedState>,
    read: AuthenticatedRead,
    Path(handle): Path<String>,
    org: Org,
) -> Result<Json<PpzSource>, ApiError> {
    let account =
        acting_account(&state, read.caller, Permission::ManageSources, org.org.as_deref()).await?.id;
    let named = Named { source: &handle, ..Named::default() };
    let source = source_by_handle(&state, account, &handle).await.map_err(|error| named.in_error(error))?;
    Ok(Json(PpzSource {
        handle: source.handle,
        kind: source.kind.as_str(),
        last_broadcast: LastBroadcast {
            last_broadcast_at: source.last_broadcast_at,
            last_broadcast_payload: source.last_broadcast_payload,
        },
    }))
}
