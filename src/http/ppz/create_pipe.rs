//! `POST /api/v1/sources/{handle}/pipes`: a pipe is made.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::shared::Org;
use crate::aggregates::source::Retention;
use crate::http::api::pipes::stream_name;
use crate::http::error::{ApiError, or_not_found};
use crate::http::extract::{JsonCommand, Parameters};
use crate::http::response::written;
use crate::http::state::SharedState;
use crate::operations::Resource;
use crate::projections::pipes::Pipe;

/// A pipe to make; what is not said of what it keeps is left to the server.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewPipe {
    /// The source's handle, as in the path.
    #[schema(ignore)]
    pub handle: Option<String>,
    /// What it is called.
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

/// A pipe that was made.
#[derive(Serialize, ToSchema)]
pub struct Made {
    handle: String,
    name: String,
    stream_name: String,
    ttl_seconds: i64,
    max_msgs: i64,
    max_bytes: i64,
}

/// Make a pipe
///
/// For keys of the account and whoever belongs to it.
#[utoipa::path(post, path = "/api/v1/sources/{handle}/pipes", operation_id = "ppzCreatePipe", tag = "ppz",
    params(("handle" = String, Path, description = "What the source is called"), Org),
    request_body = NewPipe, responses((status = 201, description = "The pipe", body = Made)))]
pub async fn create_pipe(
    State(state): State<SharedState>,
    Path(handle): Path<String>,
    Parameters(org): Parameters<Org>,
    command: JsonCommand<NewPipe>,
) -> Result<Response, ApiError> {
    let account = state.acting_account(command.caller, org.org.as_deref()).await?;
    let NewPipe { handle: said, name, ttl_seconds, max_msgs, max_bytes } = command.body;
    if said.is_some_and(|said| said != handle) {
        return Err(ApiError::field("handle", "the source's handle, as in the path"));
    }
    let keeps = Retention { ttl_seconds, max_msgs, max_bytes };
    let done = state.tenure.create_pipe(&command.context, account, None, &handle, &name, keeps).await?;
    let pipe = if let Some(pipe) = done.made(Pipe::made) {
        pipe
    } else {
        let pipe = or_not_found(state.tenure.reader().pipe(done.answer).await, Resource::Pipe)?;
        // Whoever's default account has changed since asks of another one.
        if state.source(account, &handle).await?.id != pipe.source_id {
            return Err(ApiError::not_found(Resource::Pipe));
        }
        pipe
    };
    let (ttl_seconds, max_msgs, max_bytes) = state.resolved(pipe.retention);
    let stream_name = stream_name(account, &handle, &pipe.name);
    let made = Made { handle, name: pipe.name, stream_name, ttl_seconds, max_msgs, max_bytes };
    Ok(written(StatusCode::CREATED, done.checkpoint, made))
}
