//! `POST /api/v1/accounts/{account}/sources/{handle}/pipes`: a pipe is made.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use utoipa::ToSchema;

use super::PipeRecord;
use crate::aggregates::source::Retention;
use crate::http::error::{ApiError, or_not_found};
use crate::http::extract::JsonCommand;
use crate::http::policy::Permission;
use crate::http::response::written;
use crate::http::state::SharedState;
use crate::operations::Resource;
use crate::projections::pipes::Pipe;

/// A pipe to make; what is not said of what it keeps is left to the server.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreatePipe {
    /// What it is called; none of broadcast, inbox, stdin, stdout, stdctrl, system, db.
    #[schema(
        pattern = "^(?!(broadcast|inbox|stdin|stdout|stdctrl|system|db)$)[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$"
    )]
    pub name: String,
    /// For how many seconds a message is kept.
    #[schema(minimum = 1, maximum = 31_536_000)]
    #[serde(default, deserialize_with = "crate::http::json_integer::whole")]
    pub ttl_seconds: Option<i64>,
    /// How many messages are kept.
    #[schema(minimum = 1, maximum = 10_000_000)]
    #[serde(default, deserialize_with = "crate::http::json_integer::whole")]
    pub max_msgs: Option<i64>,
    /// How many bytes are kept.
    #[schema(minimum = 1, maximum = 8_589_934_592_i64)]
    #[serde(default, deserialize_with = "crate::http::json_integer::whole")]
    pub max_bytes: Option<i64>,
}

/// Make a pipe
///
/// For keys of the account, members, the owner and operators.
#[utoipa::path(post, path = "/api/v1/accounts/{account}/sources/{handle}/pipes", operation_id = "createPipe",
    tag = "pipes",
    params(("account" = String, Path, description = "An identifier or a name"),
        ("handle" = String, Path, description = "What the source is called")),
    request_body = CreatePipe, responses((status = 201, description = "The pipe", body = PipeRecord)))]
pub async fn create(
    State(state): State<SharedState>,
    Path((account, handle)): Path<(String, String)>,
    command: JsonCommand<CreatePipe>,
) -> Result<Response, ApiError> {
    let account = state.authorize(command.caller, Permission::ManageSources, &account).await?;
    let CreatePipe { name, ttl_seconds, max_msgs, max_bytes } = command.body;
    let keeps = Retention { ttl_seconds, max_msgs, max_bytes };
    let done = state.tenure.create_pipe(&command.context, account.id, None, &handle, &name, keeps).await?;
    let pipe = match done.made(Pipe::made) {
        Some(pipe) => pipe,
        None => or_not_found(state.tenure.reader().pipe(done.answer).await, Resource::Pipe)?,
    };
    Ok(written(StatusCode::CREATED, done.checkpoint, state.pipe_record(account.id, &handle, pipe)))
}
