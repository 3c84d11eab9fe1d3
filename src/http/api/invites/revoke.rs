//! `DELETE /api/v1/accounts/{account}/invites/{id}`: an invite is taken back.

use axum::extract::{Path, State};
use axum::response::Response;

use crate::http::error::{ApiError, id};
use crate::http::extract::EmptyCommand;
use crate::http::policy::Permission;
use crate::http::response::done;
use crate::http::state::SharedState;
use crate::operations::Resource;

/// Take an invite back
///
/// For the account's owner and for operators; only as long as it is pending.
#[utoipa::path(delete, path = "/api/v1/accounts/{account}/invites/{id}", operation_id = "revokeInvite",
    tag = "invites",
    params(("account" = String, Path, description = "An identifier or a name"),
        ("id" = String, Path, description = "The invite's identifier")),
    responses((status = 204, description = "It is taken back")))]
pub async fn revoke(
    State(state): State<SharedState>,
    Path((account, invite)): Path<(String, String)>,
    command: EmptyCommand,
) -> Result<Response, ApiError> {
    let account = state.authorize(command.caller, Permission::Administer, &account).await?;
    let invite = id(&invite, Resource::Invite)?;
    Ok(done(state.tenure.revoke_invite(&command.context, Some(account.id), invite).await?.checkpoint))
}
