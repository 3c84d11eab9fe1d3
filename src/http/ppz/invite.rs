//! `POST /api/v1/orgs/{slug}/invites`: a person is invited.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use utoipa::ToSchema;

use super::OneInvite;
use crate::http::answer::written;
use crate::http::ask::Ask;
use crate::http::door::Shared;
use crate::http::error::DoorError;
use crate::http::policy::Act;

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
    State(door): State<Shared>,
    Path(slug): Path<String>,
    ask: Ask<Invitee>,
) -> Result<Response, DoorError> {
    let account = door.admit(ask.caller, Act::Own, &slug).await?;
    let by = Some(ask.caller.person()?);
    let created = door.tenure.create_invite(&ask.context, account.id, &ask.body.username, by).await;
    let done = created.map_err(|error| DoorError::from(error).renamed("invitee", "username"))?;
    let invite = door.made_invite(account.id, &done).await?;
    Ok(written(StatusCode::CREATED, done.checkpoint, OneInvite { invite }))
}
