//! `POST /api/v1/accounts/{account}/sources`: a source is made.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use utoipa::ToSchema;

use super::SourceRecord;
use crate::http::error::{ApiError, or_not_found};
use crate::http::extract::JsonCommand;
use crate::http::policy::Permission;
use crate::http::response::written;
use crate::http::state::SharedState;
use crate::operations::Resource;
use crate::projections::sources::Source;

/// A source to make.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateSource {
    /// What it is called; none of broadcast, inbox, stdin, stdout, stdctrl, system, db.
    #[schema(
        pattern = "^(?!(broadcast|inbox|stdin|stdout|stdctrl|system|db)$)[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$"
    )]
    pub handle: String,
    /// `message` or `pty` [default: message].
    #[schema(pattern = "^(message|pty)$", default = "message")]
    pub kind: Option<String>,
}

/// Make a source
///
/// For keys of the account, members, the owner and operators.
#[utoipa::path(post, path = "/api/v1/accounts/{account}/sources", operation_id = "createSource", tag = "sources",
    params(("account" = String, Path, description = "An identifier or a name")),
    request_body = CreateSource, responses((status = 201, description = "The source", body = SourceRecord)))]
pub async fn create(
    State(state): State<SharedState>,
    Path(account): Path<String>,
    command: JsonCommand<CreateSource>,
) -> Result<Response, ApiError> {
    let account = state.authorize(command.caller, Permission::ManageSources, &account).await?;
    let CreateSource { handle, kind } = &command.body;
    let done =
        state.tenure.create_source(&command.context, account.id, None, handle, kind.as_deref()).await?;
    let source = match done.made(Source::made) {
        Some(source) => source,
        None => or_not_found(state.tenure.reader().source(done.answer).await, Resource::Source)?,
    };
    Ok(written(StatusCode::CREATED, done.checkpoint, SourceRecord::from(source)))
}
