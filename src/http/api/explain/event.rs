//! `GET /api/v1/accounts/{account}/events/{position}/explain`: tells what caused an event, and what it caused.

use axum::Json;
use axum::extract::{Path, State};
use serde::Serialize;
use utoipa::ToSchema;

use super::{EntryRecord, refusal, viewer};
use crate::explain::{Chain, Entry, Viewer};
use crate::http::error::{ApiError, id};
use crate::http::extract::AuthenticatedRead;
use crate::http::policy::Permission;
use crate::http::policy::authorize;
use crate::http::state::SharedState;
use crate::operations::Resource;

/// What caused an event, and what it caused.
#[derive(Serialize, ToSchema)]
pub struct ChainRecord {
    /// The causes, the first one first; for members those in the same account.
    pub causes: Vec<EntryRecord>,
    /// The event.
    pub event: EntryRecord,
    /// What it caused among the 10,000 events after it, at most 100; for members what is in the same account.
    pub effects: Vec<EntryRecord>,
}

/// Explain an event
///
/// What caused an event of the account, and what it caused. For the account's members and owner, and operators.
#[utoipa::path(get, path = "/api/v1/accounts/{account}/events/{position}/explain", operation_id = "explainEvent", tag = "events",
    params(("account" = String, Path, description = "The account's identifier or name"),
        ("position" = i64, Path, description = "The event's position in the log", minimum = 1)),
    responses((status = 200, description = "The event, its causes and its effects", body = ChainRecord)))]
pub async fn event(
    State(state): State<SharedState>,
    read: AuthenticatedRead,
    Path((account, position)): Path<(String, String)>,
) -> Result<Json<ChainRecord>, ApiError> {
    let account = authorize(&state, read.caller, Permission::ReadHistory, &account).await?.id;
    let position: i64 = id(&position, Resource::Event)?;
    let viewer = viewer(&state, read.caller, Viewer::Account(account)).await?;
    let found = state.tenure.explain_event(position, viewer).await.map_err(refusal)?;
    let Chain { causes, event, effects, .. } = found;
    if event.event.account_id != Some(account.as_uuid()) {
        return Err(ApiError::not_found(Resource::Event));
    }
    let records = |entries: Vec<Entry>| entries.into_iter().map(EntryRecord::from).collect();
    Ok(Json(ChainRecord { causes: records(causes), event: event.into(), effects: records(effects) }))
}
