//! `GET /api/v1/accounts`: lists all accounts, for operators.

use axum::Json;
use axum::extract::State;

use super::AccountRecord;
use crate::http::error::ApiError;
use crate::http::extract::{AuthenticatedRead, Parameters};
use crate::http::pagination::{Page, Paging, Wanted};
use crate::http::policy::require_operator;
use crate::http::state::SharedState;

/// List all accounts
///
/// Sorted by name. For operators; a user's own accounts are at `/api/v1/users/me/accounts`.
#[utoipa::path(get, path = "/api/v1/accounts", operation_id = "listAccounts", tag = "accounts", params(Paging),
    responses((status = 200, description = "A page of accounts", body = Page<AccountRecord>)))]
pub async fn list(
    State(state): State<SharedState>,
    read: AuthenticatedRead,
    Parameters(paging): Parameters<Paging>,
) -> Result<Json<Page<AccountRecord>>, ApiError> {
    require_operator(&state, read.caller).await?;
    let Wanted { bounds, after } = paging.wanted::<String>(&state).await?;
    let after = after.unwrap_or_default();
    let accounts = state.tenure.reader().accounts_after(&after, bounds.size + 1).await?;
    Ok(Json(Page::of(&state, accounts, bounds, |account| account.name.clone(), AccountRecord::from)?))
}
