//! `POST /api/v1/orgs/{slug}/invites`: a person is invited.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use utoipa::ToSchema;

use super::shared::OneInvite;
use crate::http::error::ApiError;
use crate::http::extract::JsonCommand;
use crate::http::policy::Permission;
use crate::http::response::written;
use crate::http::state::SharedState;

/// Who is invited.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Invitee {
    /// The username, of somebody known or not yet.
    #[schema(pattern = "^[A-Za-z0-9._-]{1,39}$")]
    pub username: String,
}

/// Invite a person
///
/// For the owner and for operators.
#[utoipa::path(post, path = "/api/v1/orgs/{slug}/invites", operation_id = "ppzInvite", tag = "ppz",
    params(("slug" = String, Path, description = "The account's identifier or name")),
    request_body = Invitee, responses((status = 201, description = "The invite", body = OneInvite)))]
pub async fn invite(
    State(state): State<SharedState>,
    Path(slug): Path<String>,
    command: JsonCommand<Invitee>,
) -> Result<Response, ApiError> {
    let account = state.authorize(command.caller, Permission::Administer, &slug).await?;
    let by = Some(command.caller.person()?);
    let created = state.tenure.create_invite(&command.context, account.id, &command.body.username, by).await;
    let done = created.map_err(|error| ApiError::from(error).renamed("invitee", "username"))?;
    let invite = state.made_invite(account.id, &done).await?;
    Ok(written(StatusCode::CREATED, done.checkpoint, OneInvite { invite }))
}
