//! `POST /api/v1/sources`: creates a source.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;

use super::shared::Org;
use crate::clock::Timestamp;
use crate::http::api::sources::create::CreateSource;
use crate::http::api::sources::subject;
use crate::http::error::{ApiError, or_not_found};
use crate::http::extract::{JsonCommand, Parameters};
use crate::http::policy::acting_account;
use crate::http::response::written;
use crate::http::state::SharedState;
use crate::ids::SourceId;
use crate::operations::Resource;
use crate::projections::sources::Source;

/// A source that has been created.
#[derive(Serialize, ToSchema)]
pub struct NewSource {
    /// The source's identifier.
    id: SourceId,
    /// The source's handle, unique in its account.
    handle: String,
    /// The kind of source: `message` or `pty`.
    kind: &'static str,
    /// The NATS subject of the source; a pipe's subject is this, a dot, and the pipe's name.
    subject: String,
    /// When the source was created.
    created_at: Timestamp,
}

/// Create a source
///
/// For API keys of the account, its members and owner, and operators who name the account in `org`.
#[utoipa::path(post, path = "/api/v1/sources", operation_id = "ppzCreateSource", tag = "ppz", params(Org),
    request_body = CreateSource, responses((status = 201, description = "The source", body = NewSource)))]
pub async fn create_source(
    State(state): State<SharedState>,
    Parameters(org): Parameters<Org>,
    command: JsonCommand<CreateSource>,
) -> Result<Response, ApiError> {
    let account = acting_account(&state, command.caller, org.org.as_deref()).await?;
    let CreateSource { handle, kind } = &command.body;
    let done = state.tenure.create_source(&command.context, account, None, handle, kind.as_deref()).await?;
    let source = match done.made(Source::made) {
        Some(source) => source,
        None => or_not_found(state.tenure.reader().source(done.answer).await, Resource::Source)?,
    };
    // A repeated request returns the first source. If the caller's default account has changed since, that source is in
    // another account.
    if source.account_id != account {
        return Err(ApiError::not_found(Resource::Source));
    }
    let created = NewSource {
        id: source.id,
        kind: source.kind.as_str(),
        subject: subject(account, &source.handle),
        handle: source.handle,
        created_at: source.created_at,
    };
    Ok(written(StatusCode::CREATED, done.checkpoint, created))
}
