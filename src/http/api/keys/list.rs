//! `GET /api/v1/accounts/{account}/keys`: lists the API keys of an account.

use axum::extract::{Path, State};

use super::KeyRecord;
use crate::http::as_of::{PagingAsOf, Shown, view_page};
use crate::http::error::ApiError;
use crate::http::extract::{AuthenticatedRead, Parameters};
use crate::http::pagination::{Page, Wanted};
use crate::http::policy::Permission;
use crate::http::state::SharedState;

/// List the API keys of an account
///
/// Active keys first, then revoked and expired keys, each oldest first. For the account's owner and operators.
#[utoipa::path(get, path = "/api/v1/accounts/{account}/keys", operation_id = "listKeys", tag = "keys",
    params(("account" = String, Path, description = "The account's identifier or name"), PagingAsOf),
    responses((status = 200, description = "A page of API keys", body = Page<KeyRecord>)))]
pub async fn list(
    State(state): State<SharedState>,
    read: AuthenticatedRead,
    Path(account): Path<String>,
    Parameters(query): Parameters<PagingAsOf>,
) -> Result<Shown<Page<KeyRecord>>, ApiError> {
    let (view, Wanted { bounds, after }) =
        view_page(&state, read.caller, Permission::Administer, &account, query).await?;
    let reader = &view.reader;
    // The first page fixes which keys count as active, so that a key revoked meanwhile keeps its place.
    let after = match after {
        Some(after) => after,
        None => reader.api_keys_begin(view.at).await?,
    };
    let keys = reader.api_keys_after(view.now.id, after, bounds.size + 1).await?;
    Ok(view.show(Page::of(
        &state,
        keys,
        bounds,
        |(_, place)| place.to_string(),
        |(key, _)| KeyRecord::from(key),
    )?))
}
