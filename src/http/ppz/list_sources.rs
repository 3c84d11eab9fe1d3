//! `GET /api/v1/sources`: lists the sources of an account with their pipes.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use futures::TryStreamExt as _;
use futures::stream::iter;
use serde::Serialize;
use utoipa::ToSchema;

use super::shared::{LastBroadcast, Org};
use crate::http::api::pipes::pipe_states;
use crate::http::error::ApiError;
use crate::http::extract::AuthenticatedRead;
use crate::http::policy::{Permission, acting_account};
use crate::http::state::SharedState;
use crate::ids::{SourceId, UserId};
use crate::nats::PipeStates;
use crate::nats::streams::StreamOf;
use crate::projections::pipes::Pipe;
use crate::projections::sources::Source;
use crate::projections::{QueryError, Reader};

/// The sources of an account.
#[derive(Serialize, ToSchema)]
pub struct PpzSourceList {
    /// The sources, sorted by handle.
    sources: Vec<PpzListedSource>,
}

/// A source in the list.
#[derive(Serialize, ToSchema)]
pub struct PpzListedSource {
    /// The source's handle, unique in its account.
    handle: String,
    /// The kind of source: `message` or `pty`.
    kind: &'static str,
    /// The names of the created pipes.
    pipes: Vec<String>,
    /// All pipes of the source: automatic pipes first, then created ones.
    pipe_infos: Vec<PpzPipeInfo>,
    /// The username of the user who created the source.
    created_by: String,
    #[serde(flatten)]
    last_broadcast: LastBroadcast,
}

/// A pipe in the list.
#[derive(Serialize, ToSchema)]
pub struct PpzPipeInfo {
    /// The pipe's name.
    pipe: String,
    /// The number of messages in the pipe; 0 while that is not known.
    total: u64,
    /// The number of messages that the pipe's durable consumer has not acknowledged, of several the one that is farthest on;
    /// all messages if there is none.
    unread: u64,
    /// The username of the user who created the pipe; automatic pipes take it from their source.
    created_by: String,
    /// Whether the pipe's stream is there; absent while no NATS is configured.
    #[serde(skip_serializing_if = "Option::is_none")]
    provisioned: Option<bool>,
    /// Why the stream is not there, or not as it should be; absent if it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// List the sources of an account
///
/// Sorted by handle, and not paged. For API keys of the account, its members and owner, and operators who name the
/// account in `org`.
#[utoipa::path(get, path = "/api/v1/sources", operation_id = "ppzListSources", tag = "ppz", params(Org),
    responses((status = 200, description = "The sources", body = PpzSourceList)))]
pub async fn list_sources(
    State(state): State<SharedState>,
    read: AuthenticatedRead,
    org: Org,
) -> Result<Response, ApiError> {
    let account =
        acting_account(&state, read.caller, Permission::ManageSources, org.org.as_deref()).await?.id;
    let reader = state.tenure.reader().clone();
    let states = Arc::new(pipe_states(&state, account).await?);
    let sources = reader.sources_for_account(account).try_chunks(MAX_CONCURRENT).map_err(|error| error.1);
    let listed = sources
        .and_then(move |sources| {
            let (reader, states) = (reader.clone(), states.clone());
            async move { list(&reader, sources, (*states).as_ref()).await }
        })
        .map_ok(|listed| iter(listed.into_iter().map(Ok)))
        .try_flatten();
    state.unpaged_lists.answer(read.caller.id(), "sources", listed).await
}

/// How many sources share one query for their pipes and one for usernames.
const MAX_CONCURRENT: usize = 20;

/// Adds to sources their pipes, and the usernames of the creators of both.
async fn list(
    reader: &Reader,
    sources: Vec<Source>,
    states: Option<&PipeStates>,
) -> Result<Vec<PpzListedSource>, QueryError> {
    let ids: Vec<SourceId> = sources.iter().map(|source| source.id).collect();
    let mut pipes: HashMap<SourceId, Vec<Pipe>> = HashMap::new();
    for pipe in reader.pipes_of_sources(&ids).await? {
        pipes.entry(pipe.source_id).or_default().push(pipe);
    }
    let mut people: Vec<UserId> = sources.iter().map(|source| source.created_by_user_id).collect();
    people.extend(pipes.values().flatten().map(|pipe| pipe.created_by_user_id));
    let names = reader.usernames_by_ids(&people).await?;
    let name = |user: UserId| names.get(&user).cloned().unwrap_or_default();
    let info = |source: &Source, pipe: &str, of, user| {
        let state = states.map(|states| states.of(&source.handle, pipe, of));
        let (total, unread) = state.as_ref().map_or((0, 0), |state| (state.total, state.unread));
        PpzPipeInfo {
            pipe: pipe.to_owned(),
            total,
            unread,
            created_by: name(user),
            provisioned: state.as_ref().map(|state| state.provisioned),
            reason: state.and_then(|state| state.reason),
        }
    };
    let listed = sources.into_iter().map(|source| {
        let made = pipes.remove(&source.id).unwrap_or_default();
        let auto = source
            .kind
            .auto_pipes()
            .iter()
            .map(|pipe| info(&source, pipe, StreamOf::Source(source.id), source.created_by_user_id));
        let made_infos = made
            .iter()
            .map(|pipe| info(&source, &pipe.name, StreamOf::Pipe(pipe.id), pipe.created_by_user_id));
        let infos = auto.chain(made_infos).collect();
        PpzListedSource {
            handle: source.handle,
            kind: source.kind.as_str(),
            pipe_infos: infos,
            pipes: made.into_iter().map(|pipe| pipe.name).collect(),
            created_by: name(source.created_by_user_id),
            last_broadcast: LastBroadcast {
                last_broadcast_at: source.last_broadcast_at,
                last_broadcast_payload: source.last_broadcast_payload,
            },
        }
    });
    Ok(listed.collect())
}
