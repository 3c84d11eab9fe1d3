//! `POST /api/v1/sources/{handle}/pipes`: creates a pipe.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::client_command::{ClientBody, ClientCommand};
use super::named::Named;
use super::shared::Org;
use crate::aggregates::source::Retention;
use crate::http::api::pipes::resolved_retention;
use crate::http::api::sources::source_by_handle;
use crate::http::error::{ApiError, or_not_found};
use crate::http::policy::{Permission, acting_account};
use crate::http::response::written;
use crate::http::state::SharedState;
use crate::nats::streams::stream_name;
use crate::operations::Resource;
use crate::projections::pipes::Pipe;

/// The name and retention of a new pipe.
#[derive(Deserialize, ToSchema)]
pub struct PpzNewPipe {
    /// The pipe's name, unique in its source, also among its automatic pipes. Reserved: system, db.
    #[schema(pattern = "^(?!(system|db)$)[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$", required = true)]
    #[serde(default)]
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

impl ClientBody for PpzNewPipe {
    const MEMBERS: &'static [&'static str] = &["name", "ttl_seconds", "max_msgs", "max_bytes"];
    const BLAMED: &'static str = "name";
}

/// A pipe that has been created.
#[derive(Serialize, ToSchema)]
pub struct PpzCreatedPipe {
    /// The source's handle.
    handle: String,
    /// The pipe's name.
    name: String,
    /// The name of the pipe's JetStream stream.
    stream_name: String,
    /// How many seconds a message is kept.
    ttl_seconds: i64,
    /// How many messages are kept.
    max_msgs: i64,
    /// How many bytes of messages are kept.
    max_bytes: i64,
    /// False if the pipe's stream is not there yet; absent if it is, and while no NATS is configured.
    #[serde(skip_serializing_if = "Option::is_none")]
    provisioned: Option<bool>,
}

/// Create a pipe
///
/// Waits for the pipe's stream, two seconds at most. For API keys of the account, its members and owner, and operators who
/// name the account in `org`.
#[utoipa::path(post, path = "/api/v1/sources/{handle}/pipes", operation_id = "ppzCreatePipe", tag = "ppz",
    params(("handle" = String, Path, description = "The source's handle"), Org),
    request_body = PpzNewPipe, responses((status = 201, description = "The pipe", body = PpzCreatedPipe)))]
pub async fn create_pipe(
    State(state): State<SharedState>,
    Path(handle): Path<String>,
    org: Org,
    command: ClientCommand<PpzNewPipe>,
) -> Result<Response, ApiError> {
    let account =
        acting_account(&state, command.caller, Permission::ManageSources, org.org.as_deref()).await?.id;
    let PpzNewPipe { name, ttl_seconds, max_msgs, max_bytes } = command.body;
    let named = Named { source: &handle, pipe: &name, ..Named::default() };
    let keeps = Retention { ttl_seconds, max_msgs, max_bytes };
    let done = state.tenure.create_pipe(&command.context, account, None, &handle, &name, keeps).await;
    let done = done.map_err(|error| named.in_error(error))?;
    let pipe = if let Some(pipe) = done.made(Pipe::made) {
        pipe
    } else {
        let known = or_not_found(state.tenure.reader().pipe(done.answer).await, Resource::Pipe);
        let pipe = known.map_err(|error| named.in_error(error))?;
        // A repeated request returns the first pipe. If the caller's default account has changed since, that pipe is in
        // another account.
        if source_by_handle(&state, account, &handle).await?.id != pipe.source_id {
            return Err(named.in_error(ApiError::not_found(Resource::Pipe)));
        }
        pipe
    };
    let (ttl_seconds, max_msgs, max_bytes) = resolved_retention(&state, pipe.retention);
    let provisioned = match &state.nats {
        // Clients publish right after this answer, and do not try again.
        Some(nats) => (!nats.provision(account, &handle, &pipe.name).await).then_some(false),
        None => None,
    };
    let stream_name = stream_name(account, &handle, &pipe.name);
    let made = PpzCreatedPipe {
        handle: handle.clone(),
        name: pipe.name,
        stream_name,
        ttl_seconds,
        max_msgs,
        max_bytes,
        provisioned,
    };
    Ok(written(StatusCode::CREATED, done.checkpoint, made))
}
