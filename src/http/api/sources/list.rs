//! `GET /api/v1/accounts/{account}/sources`: lists the sources of an account.

use axum::Json;
use axum::extract::{Path, State};

use super::SourceRecord;
use crate::http::error::ApiError;
use crate::http::extract::{AuthenticatedRead, Parameters};
use crate::http::pagination::{Page, Paging};
use crate::http::policy::Permission;
use crate::http::policy::authorize;
use crate::http::state::SharedState;

/// List the sources of an account
///
/// Sorted by handle. For API keys of the account, its members and owner, and operators.
#[utoipa::path(get, path = "/api/v1/accounts/{account}/sources", operation_id = "listSources", tag = "sources",
    params(("account" = String, Path, description = "The account's identifier or name"), Paging),
    responses((status = 200, description = "A page of sources", body = Page<SourceRecord>)))]
pub async fn list(
    State(state): State<SharedState>,
    read: AuthenticatedRead,
    Path(account): Path<String>,
    Parameters(paging): Parameters<Paging>,
) -> Result<Json<Page<SourceRecord>>, ApiError> {
    let account = authorize(&state, read.caller, Permission::Read, &account).await?;
    let (size, after) = (paging.size()?, paging.after()?.unwrap_or_default());
    let sources = state.tenure.reader().sources_after(account.id, &after, size + 1).await?;
    Ok(Json(Page::of(sources, size, |source| source.handle.clone(), SourceRecord::from)))
}
