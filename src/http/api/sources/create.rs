//! `POST /api/v1/accounts/{account}/sources`: creates a source.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use utoipa::ToSchema;

use super::SourceRecord;
use crate::http::error::{ApiError, or_not_found};
use crate::http::extract::JsonCommand;
use crate::http::policy::Permission;
use crate::http::policy::authorize;
use crate::http::response::written;
use crate::http::state::SharedState;
use crate::operations::Resource;
use crate::projections::sources::Source;

/// The handle and kind of a new source.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateSource {
    /// The source's handle, unique in its account. Reserved: broadcast, inbox, stdin, stdout, stdctrl, system, db.
    #[schema(
        pattern = "^(?!(broadcast|inbox|stdin|stdout|stdctrl|system|db)$)[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$"
    )]
    pub handle: String,
    /// The kind of source, which decides its automatic pipes: `message` or `pty` [default: message].
    #[schema(pattern = "^(message|pty)$")]
    pub kind: Option<String>,
}

/// Create a source
///
/// For API keys of the account, its members and owner, and operators.
#[utoipa::path(post, path = "/api/v1/accounts/{account}/sources", operation_id = "createSource", tag = "sources",
    params(("account" = String, Path, description = "The account's identifier or name")),
    request_body = CreateSource, responses((status = 201, description = "The source", body = SourceRecord)))]
pub async fn create(
    State(state): State<SharedState>,
    Path(account): Path<String>,
    command: JsonCommand<CreateSource>,
) -> Result<Response, ApiError> {
    let account = authorize(&state, command.caller, Permission::ManageSources, &account).await?;
    let CreateSource { handle, kind } = &command.body;
    let done =
        state.tenure.create_source(&command.context, account.id, None, handle, kind.as_deref()).await?;
    let source = match done.made(Source::made) {
        Some(source) => source,
        // A repeated request stores no event to build the record from.
        None => or_not_found(state.tenure.reader().source(done.answer).await, Resource::Source)?,
    };
    Ok(written(StatusCode::CREATED, done.checkpoint, SourceRecord::from(source)))
}
