//! `POST /api/v1/invites/{id}/accept`: accepts an invite, for the invitee.

use axum::extract::{Path, State};
use axum::response::Response;

use super::named::Named;
use crate::http::error::{ApiError, id};
use crate::http::extract::EmptyCommand;
use crate::http::response::done;
use crate::http::state::SharedState;
use crate::operations::Resource;

/// Accept an invite
///
/// The invitee becomes a member of the account. For the invitee.
#[utoipa::path(post, path = "/api/v1/invites/{id}/accept", operation_id = "ppzAcceptInvite", tag = "ppz",
    params(("id" = String, Path, description = "The invite's identifier")),
    responses((status = 204, description = "The invite is accepted")))]
pub async fn accept_invite(
    State(state): State<SharedState>,
    Path(invite): Path<String>,
    command: EmptyCommand,
) -> Result<Response, ApiError> {
    let me = command.caller.person()?;
    let named = Named { invite: &invite, ..Named::default() };
    let id = id(&invite, Resource::Invite).map_err(|error| named.in_error(error))?;
    let accepted = state.tenure.accept_invite(&command.context, id, me).await;
    Ok(done(accepted.map_err(|error| named.in_error(error))?.checkpoint))
}
