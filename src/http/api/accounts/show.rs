//! `GET /api/v1/accounts/{account}`: returns one account.

use axum::extract::{Path, State};

use super::AccountRecord;
use crate::http::as_of::{AsOf, Shown, view};
use crate::http::error::ApiError;
use crate::http::extract::{AuthenticatedRead, Parameters};
use crate::http::policy::Permission;
use crate::http::state::SharedState;

/// Get an account
///
/// For API keys of the account, its members and owner, and operators. Other users and API keys get 404.
#[utoipa::path(get, path = "/api/v1/accounts/{account}", operation_id = "getAccount", tag = "accounts",
    params(("account" = String, Path, description = "The account's identifier or name"), AsOf),
    responses((status = 200, description = "The account", body = AccountRecord)))]
pub async fn show(
    State(state): State<SharedState>,
    read: AuthenticatedRead,
    Path(account): Path<String>,
    Parameters(as_of): Parameters<AsOf>,
) -> Result<Shown<AccountRecord>, ApiError> {
    let view = view(&state, read.caller, Permission::Read, &account, as_of).await?;
    Ok(view.show(view.account.clone().into()))
}
