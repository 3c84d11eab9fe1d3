//! `DELETE /api/v1/accounts/{account}/invites/{id}`: revokes an invite.

use axum::extract::{Path, State};
use axum::response::Response;

use crate::http::error::{ApiError, id};
use crate::http::extract::EmptyCommand;
use crate::http::policy::Permission;
use crate::http::policy::authorize;
use crate::http::response::done;
use crate::http::state::SharedState;
use crate::operations::Resource;

/// Revoke an invite
///
/// Only a pending invite can be revoked. For the account's owner and operators.
#[utoipa::path(delete, path = "/api/v1/accounts/{account}/invites/{id}", operation_id = "revokeInvite",
    tag = "invites",
    params(("account" = String, Path, description = "The account's identifier or name"),
        ("id" = String, Path, description = "The invite's identifier")),
    responses((status = 204, description = "The invite is revoked")))]
pub async fn revoke(
    State(state): State<SharedState>,
    Path((account, invite)): Path<(String, String)>,
    command: EmptyCommand,
) -> Result<Response, ApiError> {
    let account = authorize(&state, command.caller, Permission::Administer, &account).await?;
    let invite = id(&invite, Resource::Invite)?;
    Ok(done(state.tenure.revoke_invite(&command.context, Some(account.id), invite).await?.checkpoint))
}
