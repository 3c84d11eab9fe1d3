//! Routes for pipes, the named channels of a source: automatic pipes and created ones.

pub mod change;
pub mod create;
pub mod delete;
pub mod list;
pub mod show;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::aggregates::source::Retention;
use crate::clock::Timestamp;
use crate::http::api::sources::{source_by_handle, source_of};
use crate::http::as_of::View;
use crate::http::error::{ApiError, or_not_found};
use crate::http::state::AppState;
use crate::ids::{AccountId, PipeId, UserId};
use crate::nats::streams::{StreamOf, pipe_subject, stream_name};
use crate::nats::{NatsError, PipeState, PipeStates};
use crate::operations::Resource;
use crate::projections::QueryError;
use crate::projections::pipes::Pipe;
use crate::projections::sources::Source;

/// A pipe: a named channel of a source.
#[derive(Serialize, ToSchema)]
pub struct PipeRecord {
    /// The pipe's identifier; `null` for automatic pipes.
    #[schema(required = true)]
    pub id: Option<PipeId>,
    /// The pipe's name, unique in its source.
    pub name: String,
    /// Whether the pipe is automatic: the source has it because of its kind.
    pub automatic: bool,
    /// The identifier of the user who created the pipe; automatic pipes take it from their source.
    pub created_by_user_id: UserId,
    /// When the pipe was created; automatic pipes take it from their source.
    pub created_at: Timestamp,
    /// The NATS subject of the pipe's messages.
    pub subject: String,
    /// The name of the pipe's JetStream stream.
    pub stream_name: String,
    /// How many seconds a message is kept.
    pub ttl_seconds: i64,
    /// How many messages are kept.
    pub max_msgs: i64,
    /// How many bytes of messages are kept.
    pub max_bytes: i64,
    /// Whether the pipe's stream is there; absent while no NATS is configured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provisioned: Option<bool>,
    /// Why the stream is not there, or not as it should be; absent if it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl PipeRecord {
    /// Adds the state of the pipe's stream, if it is known.
    #[must_use]
    fn with(mut self, state: Option<PipeState>) -> Self {
        if let Some(PipeState { provisioned, reason, .. }) = state {
            (self.provisioned, self.reason) = (Some(provisioned), reason);
        }
        self
    }
}

/// The retention of a pipe: an absent limit is the server's default.
#[derive(Clone, Copy, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PipeRetention {
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

impl From<PipeRetention> for Retention {
    fn from(keeps: PipeRetention) -> Self {
        Self { ttl_seconds: keeps.ttl_seconds, max_msgs: keeps.max_msgs, max_bytes: keeps.max_bytes }
    }
}

/// The state of the streams of an account; none while no NATS is configured.
pub(in crate::http) async fn pipe_states(
    state: &AppState,
    account: AccountId,
) -> Result<Option<PipeStates>, ApiError> {
    let Some(nats) = &state.nats else { return Ok(None) };
    match nats.pipe_states(account).await {
        Ok(states) => Ok(Some(states)),
        Err(NatsError::Store(error)) => Err(QueryError::from(error).into()),
        Err(_) => Err(ApiError::Unavailable),
    }
}

/// The effective TTL in seconds, message limit and byte limit, with the server's defaults where a limit is not set.
pub(in crate::http) fn resolved_retention(state: &AppState, retention: Retention) -> (i64, i64, i64) {
    let all = retention.resolved(&state.tenure.rules().retention);
    (all.ttl_seconds.unwrap_or_default(), all.max_msgs.unwrap_or_default(), all.max_bytes.unwrap_or_default())
}

/// The record of a created pipe.
fn pipe_record(state: &AppState, account: AccountId, handle: &str, pipe: Pipe) -> PipeRecord {
    let (ttl_seconds, max_msgs, max_bytes) = resolved_retention(state, pipe.retention);
    PipeRecord {
        id: Some(pipe.id),
        automatic: false,
        created_by_user_id: pipe.created_by_user_id,
        created_at: pipe.created_at,
        subject: pipe_subject(account, handle, &pipe.name),
        stream_name: stream_name(account, handle, &pipe.name),
        name: pipe.name,
        ttl_seconds,
        max_msgs,
        max_bytes,
        provisioned: None,
        reason: None,
    }
}

/// The record of an automatic pipe, which takes its creator and creation time from the source.
fn auto_pipe_record(state: &AppState, source: &Source, name: &str) -> PipeRecord {
    let (ttl_seconds, max_msgs, max_bytes) = resolved_retention(state, Retention::default());
    PipeRecord {
        id: None,
        automatic: true,
        created_by_user_id: source.created_by_user_id,
        created_at: source.created_at,
        subject: pipe_subject(source.account_id, &source.handle, name),
        stream_name: stream_name(source.account_id, &source.handle, name),
        name: name.to_owned(),
        ttl_seconds,
        max_msgs,
        max_bytes,
        provisioned: None,
        reason: None,
    }
}

/// The record of the created pipe of this name; automatic pipes are not found.
async fn pipe_by_name(
    state: &AppState,
    account: AccountId,
    handle: &str,
    name: &str,
) -> Result<PipeRecord, ApiError> {
    let source = source_by_handle(state, account, handle).await?;
    let pipe = or_not_found(state.tenure.reader().pipe_by_name(source.id, name).await, Resource::Pipe)?;
    let states = pipe_states(state, account).await?;
    let found = states.map(|states| states.of(handle, name, StreamOf::Pipe(pipe.id)));
    Ok(pipe_record(state, account, handle, pipe).with(found))
}

/// The created pipe that has this name now, as it is or was: a name means what it means now.
async fn pipe_of(state: &AppState, view: &View, handle: &str, name: &str) -> Result<PipeRecord, ApiError> {
    if !view.is_past() {
        return pipe_by_name(state, view.now.id, handle, name).await;
    }
    let source = source_of(state, view, handle).await?;
    let pipe = or_not_found(state.tenure.reader().pipe_by_name(source.id, name).await, Resource::Pipe)?;
    let pipe = or_not_found(view.reader.pipe(pipe.id).await, Resource::Pipe)?;
    // The streams are those of now.
    Ok(pipe_record(state, view.now.id, handle, pipe))
}
