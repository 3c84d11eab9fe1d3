//! `POST /api/v1/orgs/{slug}/invites/{id}/revoke`: an invite is taken back.

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
/// For the owner and for operators.
#[utoipa::path(post, path = "/api/v1/orgs/{slug}/invites/{id}/revoke", operation_id = "ppzRevokeInvite",
    tag = "ppz",
    params(("slug" = String, Path, description = "The account's identifier or name"),
        ("id" = String, Path, description = "The invite's identifier")),
    responses((status = 204, description = "It is taken back")))]
pub async fn revoke_invite(
    State(state): State<SharedState>,
    Path((slug, invite)): Path<(String, String)>,
    command: EmptyCommand,
) -> Result<Response, ApiError> {
    let account = state.authorize(command.caller, Permission::Administer, &slug).await?;
    let invite = id(&invite, Resource::Invite)?;
    Ok(done(state.tenure.revoke_invite(&command.context, Some(account.id), invite).await?.checkpoint))
}
