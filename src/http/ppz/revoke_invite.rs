//! `POST /api/v1/orgs/{slug}/invites/{id}/revoke`: revokes an invite.

use axum::extract::{Path, State};
use axum::response::Response;

use super::named::Named;
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
#[utoipa::path(post, path = "/api/v1/orgs/{slug}/invites/{id}/revoke", operation_id = "ppzRevokeInvite",
    tag = "ppz",
    params(("slug" = String, Path, description = "The account's identifier or name"),
        ("id" = String, Path, description = "The invite's identifier")),
    responses((status = 204, description = "The invite is revoked")))]
pub async fn revoke_invite(
    State(state): State<SharedState>,
    Path((slug, invite)): Path<(String, String)>,
    command: EmptyCommand,
) -> Result<Response, ApiError> {
    let named = Named { account: &slug, invite: &invite, ..Named::default() };
    let account = authorize(&state, command.caller, Permission::Administer, &slug).await;
    let account = account.map_err(|error| named.in_error(error))?;
    let id = id(&invite, Resource::Invite).map_err(|error| named.in_error(error))?;
    let revoked = state.tenure.revoke_invite(&command.context, Some(account.id), id).await;
    Ok(done(revoked.map_err(|error| named.in_error(error))?.checkpoint))
}
