//! `DELETE /api/v1/accounts/{account}`: closes an account.

use axum::extract::{Path, State};
use axum::response::Response;

use crate::http::error::ApiError;
use crate::http::extract::EmptyCommand;
use crate::http::policy::Permission;
use crate::http::policy::authorize;
use crate::http::response::done;
use crate::http::state::SharedState;

/// Close an account
///
/// Revokes the account's API keys and invites and deletes its sources in one step. Frees its name, and makes everything
/// sealed for the account unreadable. For the account's owner and operators.
#[utoipa::path(delete, path = "/api/v1/accounts/{account}", operation_id = "closeAccount", tag = "accounts",
    params(("account" = String, Path, description = "The account's identifier or name")),
    responses((status = 204, description = "The account is closed")))]
pub async fn close(
    State(state): State<SharedState>,
    Path(account): Path<String>,
    command: EmptyCommand,
) -> Result<Response, ApiError> {
    let account = authorize(&state, command.caller, Permission::Administer, &account).await?;
    Ok(done(state.tenure.close_account(&command.context, account.id).await?.checkpoint))
}
