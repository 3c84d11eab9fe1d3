//! `GET /api/v1/accounts/{account}/sources`: lists the sources of an account.

use axum::extract::{Path, State};

use super::SourceRecord;
use crate::http::as_of::{PagingAsOf, Shown, view_page};
use crate::http::error::ApiError;
use crate::http::extract::{AuthenticatedRead, Parameters};
use crate::http::pagination::{Page, Wanted};
use crate::http::policy::Permission;
use crate::http::state::SharedState;

/// List the sources of an account
///
/// Sorted by handle. For API keys of the account, its members and owner, and operators.
#[utoipa::path(get, path = "/api/v1/accounts/{account}/sources", operation_id = "listSources", tag = "sources",
    params(("account" = String, Path, description = "The account's identifier or name"), PagingAsOf),
    responses((status = 200, description = "A page of sources", body = Page<SourceRecord>)))]
pub async fn list(
    State(state): State<SharedState>,
    read: AuthenticatedRead,
    Path(account): Path<String>,
    Parameters(query): Parameters<PagingAsOf>,
) -> Result<Shown<Page<SourceRecord>>, ApiError> {
    let (view, Wanted { bounds, after }) =
        view_page::<String>(&state, read.caller, Permission::Read, &account, query).await?;
    let after = after.unwrap_or_default();
    let sources = view.reader.sources_after(view.now.id, &after, bounds.size + 1).await?;
    Ok(view.show(Page::of(&state, sources, bounds, |source| source.handle.clone(), SourceRecord::from)?))
}
