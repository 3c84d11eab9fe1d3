//! `DELETE /api/v1/accounts/{account}`: an account ends.

use axum::extract::{Path, State};
use axum::response::Response;

use crate::http::error::ApiError;
use crate::http::extract::EmptyCommand;
use crate::http::policy::Permission;
use crate::http::response::done;
use crate::http::state::SharedState;

/// Close an account
///
/// Revokes its keys and invites and deletes its sources in one step; its name is free again, and what was sealed for it
/// is unreadable from then on. For its owner and for operators.
#[utoipa::path(delete, path = "/api/v1/accounts/{account}", operation_id = "closeAccount", tag = "accounts",
    params(("account" = String, Path, description = "An identifier or a name")),
    responses((status = 204, description = "It is closed")))]
pub async fn close(
    State(state): State<SharedState>,
    Path(account): Path<String>,
    command: EmptyCommand,
) -> Result<Response, ApiError> {
    let account = state.authorize(command.caller, Permission::Administer, &account).await?;
    Ok(done(state.tenure.close_account(&command.context, account.id).await?.checkpoint))
}
