//! `POST /api/v1/orgs/{slug}/invites`: invites a user to an account.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use utoipa::ToSchema;

use super::client_command::{ClientBody, ClientCommand};
use super::named::Named;
use super::shared::PpzCreatedInvite;
use crate::http::api::invites::created_invite;
use crate::http::error::ApiError;
use crate::http::policy::Permission;
use crate::http::policy::authorize;
use crate::http::response::written;
use crate::http::state::SharedState;

/// The user to invite.
#[derive(Deserialize, ToSchema)]
pub struct PpzNewInvite {
    /// The invitee's username; the user need not have signed up yet.
    #[schema(
        pattern = "^(?!\\.{1,2}$)(?![Mm][Ee]$)(?![0-9a-fA-F]{32}$)(?![0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$)[A-Za-z0-9._-]{1,39}$",
        required = true
    )]
    #[serde(default)]
    pub username: String,
}

impl ClientBody for PpzNewInvite {
    const MEMBERS: &'static [&'static str] = &["username"];
    const BLAMED: &'static str = "username";
}

/// Create an invite
///
/// An invitee who has not signed up yet must do so through GitHub. For the account's owner and operators.
#[utoipa::path(post, path = "/api/v1/orgs/{slug}/invites", operation_id = "ppzInvite", tag = "ppz",
    params(("slug" = String, Path, description = "The account's identifier or name")),
    request_body = PpzNewInvite, responses((status = 201, description = "The invite", body = PpzCreatedInvite)))]
pub async fn invite(
    State(state): State<SharedState>,
    Path(slug): Path<String>,
    command: ClientCommand<PpzNewInvite>,
) -> Result<Response, ApiError> {
    // Blanks come with names that were copied.
    let username = command.body.username.trim();
    let named = Named { account: &slug, user: username, ..Named::default() };
    let account = authorize(&state, command.caller, Permission::Administer, &slug).await;
    let account = account.map_err(|error| named.in_error(error))?;
    let by = Some(command.caller.person()?);
    let created = state.tenure.create_invite(&command.context, account.id, username, by).await;
    // The engine calls the field `invitee`; in this request it is `username`.
    let done = created.map_err(|error| named.in_error(error).renamed("invitee", "username"))?;
    let invite = created_invite(&state, &account, &done).await?;
    Ok(written(StatusCode::CREATED, done.checkpoint, PpzCreatedInvite { invite }))
}
