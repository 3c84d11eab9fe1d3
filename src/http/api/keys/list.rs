//! `GET /api/v1/accounts/{account}/keys`: lists the API keys of an account.

use axum::Json;
use axum::extract::{Path, State};

use super::KeyRecord;
use crate::http::error::ApiError;
use crate::http::extract::{AuthenticatedRead, Parameters};
use crate::http::pagination::{Page, Paging};
use crate::http::policy::Permission;
use crate::http::policy::authorize;
use crate::http::state::SharedState;

/// List the API keys of an account
///
/// Active keys first, then revoked and expired keys, each oldest first. For the account's owner and operators.
#[utoipa::path(get, path = "/api/v1/accounts/{account}/keys", operation_id = "listKeys", tag = "keys",
    params(("account" = String, Path, description = "The account's identifier or name"), Paging),
    responses((status = 200, description = "A page of API keys", body = Page<KeyRecord>)))]
pub async fn list(
    State(state): State<SharedState>,
    read: AuthenticatedRead,
    Path(account): Path<String>,
    Parameters(paging): Parameters<Paging>,
) -> Result<Json<Page<KeyRecord>>, ApiError> {
    let account = authorize(&state, read.caller, Permission::Administer, &account).await?;
    let (reader, size) = (state.tenure.reader(), paging.size()?);
    // The first page fixes which keys count as active, so that a key revoked meanwhile keeps its place.
    let after = match paging.after_key()? {
        Some(after) => after,
        None => reader.api_keys_begin(state.tenure.clock().now()).await?,
    };
    let keys = reader.api_keys_after(account.id, after, size + 1).await?;
    Ok(Json(Page::of(keys, size, |(_, place)| place.to_string(), |(key, _)| KeyRecord::from(key))))
}
