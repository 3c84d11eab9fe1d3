//! `POST /api/v1/accounts/{account}/invites`: a person is invited.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use utoipa::ToSchema;

use super::InviteRecord;
use crate::aggregates::user::UserMode;
use crate::http::answer::written;
use crate::http::ask::Ask;
use crate::http::door::Shared;
use crate::http::error::DoorError;
use crate::http::policy::Act;
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
    State(door): State<Shared>,
    Path(account): Path<String>,
    ask: Ask<CreateInvite>,
) -> Result<Response, DoorError> {
    let account = door.admit(ask.caller, Act::Own, &account).await?;
    let mode = match &ask.body.mode {
        None => UserMode::Github,
        Some(mode) => mode.parse().map_err(|_| DoorError::Refused(Refusal::InvalidUserMode))?,
    };
    let by = Some(ask.caller.person()?);
    let username = &ask.body.username;
    let created = door.tenure.create_invite_for_mode(&ask.context, account.id, username, by, mode).await;
    let done = created.map_err(|error| DoorError::from(error).renamed("invitee", "username"))?;
    let record = door.made_invite(account.id, &done).await?;
    Ok(written(StatusCode::CREATED, done.checkpoint, record))
}
