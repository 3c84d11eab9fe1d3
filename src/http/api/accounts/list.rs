//! `GET /api/v1/accounts`: all tenants, for operators.

use axum::Json;
use axum::extract::State;

use super::AccountRecord;
use crate::http::error::ApiError;
use crate::http::extract::{AuthenticatedRead, Parameters};
use crate::http::pagination::{Page, Paging};
use crate::http::state::SharedState;

/// All accounts, by name
///
/// For operators; one's own are at `/api/v1/users/me/accounts`.
#[utoipa::path(get, path = "/api/v1/accounts", operation_id = "listAccounts", tag = "accounts", params(Paging),
    responses((status = 200, description = "A page of accounts", body = Page<AccountRecord>)))]
pub async fn list(
    State(state): State<SharedState>,
    read: AuthenticatedRead,
    Parameters(paging): Parameters<Paging>,
) -> Result<Json<Page<AccountRecord>>, ApiError> {
    state.require_operator(read.caller).await?;
    let size = paging.size()?;
    let after = paging.after()?.unwrap_or_default();
    let accounts = state.tenure.reader().accounts_after(&after, size + 1).await?;
    Ok(Json(Page::of(accounts, size, |account| account.name.clone(), AccountRecord::from)))
}
