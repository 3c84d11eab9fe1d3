//! `POST /api/v1/accounts/{account}/invites`: a person is invited.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use utoipa::ToSchema;

use super::InviteRecord;
use crate::aggregates::user::UserMode;
use crate::http::error::ApiError;
use crate::http::extract::JsonCommand;
use crate::http::policy::Permission;
use crate::http::response::written;
use crate::http::state::SharedState;
use crate::operations::Refusal;

/// Who is invited.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateInvite {
    /// The username, of somebody known or not yet.
    #[schema(pattern = "^[A-Za-z0-9._-]{1,39}$")]
    pub username: String,
    /// How somebody who is not known yet will sign in [default: github].
    #[schema(pattern = "^(github|internal)$", default = "github")]
    pub mode: Option<String>,
}

/// Invite a person
///
/// For the owner and for operators. One invite at a time stands for a person; it can be accepted for 14 days.
#[utoipa::path(post, path = "/api/v1/accounts/{account}/invites", operation_id = "createInvite", tag = "invites",
    params(("account" = String, Path, description = "An identifier or a name")),
    request_body = CreateInvite, responses((status = 201, description = "The invite", body = InviteRecord)))]
pub async fn create(
    State(state): State<SharedState>,
    Path(account): Path<String>,
    command: JsonCommand<CreateInvite>,
) -> Result<Response, ApiError> {
    let account = state.authorize(command.caller, Permission::Administer, &account).await?;
    let mode = match &command.body.mode {
        None => UserMode::Github,
        Some(mode) => mode.parse().map_err(|_| ApiError::Refused(Refusal::InvalidUserMode))?,
    };
    let by = Some(command.caller.person()?);
    let username = &command.body.username;
    let created = state.tenure.create_invite_for_mode(&command.context, account.id, username, by, mode).await;
    let done = created.map_err(|error| ApiError::from(error).renamed("invitee", "username"))?;
    let record = state.made_invite(account.id, &done).await?;
    Ok(written(StatusCode::CREATED, done.checkpoint, record))
}
