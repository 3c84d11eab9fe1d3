//! `GET /api/v1/users/{user}/accounts`: lists the accounts of a user.

use axum::Json;
use axum::extract::{Path, State};

use crate::http::api::accounts::AccountRecord;
use crate::http::error::ApiError;
use crate::http::extract::{AuthenticatedRead, Parameters};
use crate::http::pagination::{Page, Paging, Wanted};
use crate::http::policy::authorize_self;
use crate::http::state::SharedState;

/// List the accounts of a user
///
/// The accounts that the user owns or is a member of, sorted by name. For the user and operators.
#[utoipa::path(get, path = "/api/v1/users/{user}/accounts", operation_id = "listAccountsOfUser", tag = "users",
    params(("user" = String, Path, description = "`me`, or the user's identifier or username"), Paging),
    responses((status = 200, description = "A page of accounts", body = Page<AccountRecord>)))]
pub async fn accounts(
    State(state): State<SharedState>,
    read: AuthenticatedRead,
    Path(user): Path<String>,
    Parameters(paging): Parameters<Paging>,
) -> Result<Json<Page<AccountRecord>>, ApiError> {
    let user = authorize_self(&state, read.caller, &user).await?;
    let Wanted { bounds, after } = paging.wanted::<String>(&state).await?;
    let after = after.unwrap_or_default();
    let accounts = state.tenure.reader().accounts_for_user_after(user, &after, bounds.size + 1).await?;
    Ok(Json(Page::of(&state, accounts, bounds, |account| account.name.clone(), AccountRecord::from)?))
}
