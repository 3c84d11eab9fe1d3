//! `POST /api/v1/sources`: creates a source.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::client_command::{ClientBody, ClientCommand};
use super::named::Named;
use super::shared::Org;
use crate::clock::Timestamp;
use crate::http::api::sources::subject;
use crate::http::error::{ApiError, or_not_found};
use crate::http::policy::{Permission, acting_account};
use crate::http::response::written;
use crate::http::state::SharedState;
use crate::ids::SourceId;
use crate::operations::Resource;
use crate::projections::sources::Source;

/// The handle and kind of a new source.
#[derive(Deserialize, ToSchema)]
pub struct PpzNewSource {
    /// The source's handle, unique in its account. Reserved: broadcast, inbox, stdin, stdout, stdctrl, system, db.
    #[schema(
        pattern = "^(?!(broadcast|inbox|stdin|stdout|stdctrl|system|db)$)[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$",
        required = true
    )]
    #[serde(default)]
    pub handle: String,
    /// The kind of source, which decides its automatic pipes: `message` or `pty` [default: message].
    #[schema(pattern = "^(message|pty)?$")]
    pub kind: Option<String>,
}

impl ClientBody for PpzNewSource {
    const MEMBERS: &'static [&'static str] = &["handle", "kind"];
    const BLAMED: &'static str = "handle";
}

/// A source that has been created.
#[derive(Serialize, ToSchema)]
pub struct PpzCreatedSource {
    /// The source's identifier.
    id: SourceId,
    /// The source's handle, unique in its account.
    handle: String,
    /// The kind of source: `message` or `pty`.
    kind: &'static str,
    /// The NATS subject of the source's inbox.
    subject: String,
    /// When the source was created.
    created_at: Timestamp,
}

/// Create a source
///
/// For API keys of the account, its members and owner, and operators who name the account in `org`.
#[utoipa::path(post, path = "/api/v1/sources", operation_id = "ppzCreateSource", tag = "ppz", params(Org),
    request_body = PpzNewSource, responses((status = 201, description = "The source", body = PpzCreatedSource)))]
pub async fn create_source(
    State(state): State<SharedState>,
    org: Org,
    command: ClientCommand<PpzNewSource>,
) -> Result<Response, ApiError> {
    let account =
        acting_account(&state, command.caller, Permission::ManageSources, org.org.as_deref()).await?.id;
    let PpzNewSource { handle, kind } = &command.body;
    let kind = kind.as_deref().filter(|kind| !kind.is_empty());
    let named = Named { source: handle, ..Named::default() };
    let done = state.tenure.create_source(&command.context, account, None, handle, kind).await;
    let done = done.map_err(|error| named.in_error(error))?;
    let source = if let Some(source) = done.made(Source::made) {
        source
    } else {
        let known = or_not_found(state.tenure.reader().source(done.answer).await, Resource::Source);
        known.map_err(|error| named.in_error(error))?
    };
    // A repeated request returns the first source. If the caller's default account has changed since, that source is in
    // another account.
    if source.account_id != account {
        return Err(named.in_error(ApiError::not_found(Resource::Source)));
    }
    let created = PpzCreatedSource {
        id: source.id,
        kind: source.kind.as_str(),
        subject: subject(account, &source.handle),
        handle: source.handle,
        created_at: source.created_at,
    };
    Ok(written(StatusCode::CREATED, done.checkpoint, created))
}
