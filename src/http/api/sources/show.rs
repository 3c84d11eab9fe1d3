//! `GET /api/v1/accounts/{account}/sources/{handle}`: returns one source.

use axum::extract::{Path, State};

use super::SourceRecord;
use crate::http::api::sources::source_of;
use crate::http::as_of::{AsOf, Shown, view};
use crate::http::error::ApiError;
use crate::http::extract::{AuthenticatedRead, Parameters};
use crate::http::policy::Permission;
use crate::http::state::SharedState;

/// Get a source
///
/// For API keys of the account, its members and owner, and operators.
#[utoipa::path(get, path = "/api/v1/accounts/{account}/sources/{handle}", operation_id = "getSource",
    tag = "sources",
    params(("account" = String, Path, description = "The account's identifier or name"),
        ("handle" = String, Path, description = "The source's handle"), AsOf),
    responses((status = 200, description = "The source", body = SourceRecord)))]
pub async fn show(
    State(state): State<SharedState>,
    read: AuthenticatedRead,
    Path((account, handle)): Path<(String, String)>,
    Parameters(as_of): Parameters<AsOf>,
) -> Result<Shown<SourceRecord>, ApiError> {
    let view = view(&state, read.caller, Permission::Read, &account, as_of).await?;
    let source = source_of(&state, &view, &handle).await?;
    Ok(view.show(source.into()))
}
