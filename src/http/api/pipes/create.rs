//! `POST /api/v1/accounts/{account}/sources/{handle}/pipes`: creates a pipe.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use utoipa::ToSchema;

use super::PipeRecord;
use crate::aggregates::source::Retention;
use crate::http::api::pipes::pipe_record;
use crate::http::error::{ApiError, or_not_found};
use crate::http::extract::JsonCommand;
use crate::http::policy::Permission;
use crate::http::policy::authorize;
use crate::http::response::written;
use crate::http::state::SharedState;
use crate::operations::Resource;
use crate::projections::pipes::Pipe;

/// The name and retention of a new pipe.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreatePipe {
    /// The pipe's name, unique in its source, also among its automatic pipes. Reserved: system, db.
    #[schema(pattern = "^(?!(system|db)$)[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$")]
    pub name: String,
    /// How many seconds a message is kept; the server's default if absent.
    #[schema(minimum = 1, maximum = 31_536_000)]
    #[serde(default, deserialize_with = "crate::http::json_integer::whole")]
    pub ttl_seconds: Option<i64>,
    /// How many messages are kept; the server's default if absent.
    #[schema(minimum = 1, maximum = 10_000_000)]
    #[serde(default, deserialize_with = "crate::http::json_integer::whole")]
    pub max_msgs: Option<i64>,
    /// How many bytes of messages are kept; the server's default if absent.
    #[schema(minimum = 1, maximum = 8_589_934_592_i64)]
    #[serde(default, deserialize_with = "crate::http::json_integer::whole")]
    pub max_bytes: Option<i64>,
}

/// Create a pipe
///
/// Waits for the pipe's stream, two seconds at most. For API keys of the account, its members and owner, and operators.
#[utoipa::path(post, path = "/api/v1/accounts/{account}/sources/{handle}/pipes", operation_id = "createPipe",
    tag = "pipes",
    params(("account" = String, Path, description = "The account's identifier or name"),
        ("handle" = String, Path, description = "The source's handle")),
    request_body = CreatePipe, responses((status = 201, description = "The pipe", body = PipeRecord)))]
pub async fn create(
    State(state): State<SharedState>,
    Path((account, handle)): Path<(String, String)>,
    command: JsonCommand<CreatePipe>,
) -> Result<Response, ApiError> {
    let account = authorize(&state, command.caller, Permission::ManageSources, &account).await?;
    let CreatePipe { name, ttl_seconds, max_msgs, max_bytes } = command.body;
    let keeps = Retention { ttl_seconds, max_msgs, max_bytes };
    let done = state.tenure.create_pipe(&command.context, account.id, None, &handle, &name, keeps).await?;
    let pipe = match done.made(Pipe::made) {
        Some(pipe) => pipe,
        // A repeated request stores no event to build the record from.
        None => or_not_found(state.tenure.reader().pipe(done.answer).await, Resource::Pipe)?,
    };
    let mut record = pipe_record(&state, account.id, &handle, pipe);
    if let Some(nats) = &state.nats {
        record.provisioned = Some(nats.provision(account.id, &handle, &record.name).await);
    }
    Ok(written(StatusCode::CREATED, done.checkpoint, record))
}
