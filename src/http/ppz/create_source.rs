//! `POST /api/v1/sources`: a source is made.

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
use crate::http::response::written;
use crate::http::state::SharedState;
use crate::ids::SourceId;
use crate::operations::Resource;
use crate::projections::sources::Source;

/// A source that was made.
#[derive(Serialize, ToSchema)]
pub struct NewSource {
    id: SourceId,
    handle: String,
    kind: &'static str,
    subject: String,
    created_at: Timestamp,
}

/// Make a source
///
/// For keys of the account and whoever belongs to it.
#[utoipa::path(post, path = "/api/v1/sources", operation_id = "ppzCreateSource", tag = "ppz", params(Org),
    request_body = CreateSource, responses((status = 201, description = "The source", body = NewSource)))]
pub async fn create_source(
    State(state): State<SharedState>,
    Parameters(org): Parameters<Org>,
    command: JsonCommand<CreateSource>,
) -> Result<Response, ApiError> {
    let account = state.acting_account(command.caller, org.org.as_deref()).await?;
    let CreateSource { handle, kind } = &command.body;
    let done = state.tenure.create_source(&command.context, account, None, handle, kind.as_deref()).await?;
    let source = match done.made(Source::made) {
        Some(source) => source,
        None => or_not_found(state.tenure.reader().source(done.answer).await, Resource::Source)?,
    };
    // Whoever's default account has changed since asks of another one.
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
