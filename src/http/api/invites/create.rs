//! `POST /api/v1/accounts/{account}/invites`: invites a user to an account.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use utoipa::ToSchema;

use super::InviteRecord;
use crate::aggregates::user::UserMode;
use crate::http::api::invites::created_invite;
use crate::http::error::ApiError;
use crate::http::extract::JsonCommand;
use crate::http::policy::Permission;
use crate::http::policy::authorize;
use crate::http::response::written;
use crate::http::state::SharedState;
use crate::operations::Refusal;

/// The user to invite.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateInvite {
    /// The invitee's username; the user need not have signed up yet.
    #[schema(
        pattern = "^(?!\\.{1,2}$)(?![Mm][Ee]$)(?![0-9a-fA-F]{32}$)(?![0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$)[A-Za-z0-9._-]{1,39}$"
    )]
    pub username: String,
    /// How the invitee must sign in if they have not signed up yet: `github` or `internal` [default: github].
    #[schema(pattern = "^(github|internal)$")]
    pub mode: Option<String>,
}

/// Create an invite
///
/// An account can have one pending invite per invitee. It expires after 14 days, unless the server is configured
/// otherwise. For the account's owner and operators.
#[utoipa::path(post, path = "/api/v1/accounts/{account}/invites", operation_id = "createInvite", tag = "invites",
    params(("account" = String, Path, description = "The account's identifier or name")),
    request_body = CreateInvite, responses((status = 201, description = "The invite", body = InviteRecord)))]
pub async fn create(
    State(state): State<SharedState>,
    Path(account): Path<String>,
    command: JsonCommand<CreateInvite>,
) -> Result<Response, ApiError> {
    let account = authorize(&state, command.caller, Permission::Administer, &account).await?;
    let mode = match &command.body.mode {
        None => UserMode::Github,
        Some(mode) => mode.parse().map_err(|_| ApiError::Refused(Refusal::InvalidUserMode))?,
    };
    let by = Some(command.caller.person()?);
    let username = &command.body.username;
    let created = state.tenure.create_invite_for_mode(&command.context, account.id, username, by, mode).await;
    // The engine calls the field `invitee`; in this request it is `username`.
    let done = created.map_err(|error| ApiError::from(error).renamed("invitee", "username"))?;
    let record = created_invite(&state, &account, &done).await?;
    Ok(written(StatusCode::CREATED, done.checkpoint, record))
}
