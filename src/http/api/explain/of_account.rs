//! `GET /api/v1/accounts/{account}/explain`: tells the story of an account, or of something in it.

use axum::Json;
use axum::extract::{Path, State};
use serde::Deserialize;
use utoipa::IntoParams;

use super::{Part, StoryPage, story, viewer};
use crate::explain::{Thing, Viewer};
use crate::http::error::{ApiError, id, or_not_found};
use crate::http::extract::{AuthenticatedRead, Parameters};
use crate::http::policy::Permission;
use crate::http::policy::authorize;
use crate::http::state::{AppState, SharedState};
use crate::ids::{AccountId, ApiKeyId, InviteId, SourceId};
use crate::operations::Resource;

/// What to explain, and which part of the story to tell.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Question {
    /// Tell the story of this API key of the account alone.
    key: Option<String>,
    /// Tell the story of this invite of the account alone.
    invite: Option<String>,
    /// Tell the story of this source of the account alone: its identifier, which also a deleted source has, or its handle.
    source: Option<String>,
    /// The most events on the page [default: 100].
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
    /// The `next_cursor` of the previous page; omit it for the first page.
    #[param(pattern = "^[0-9]{1,19}-[0-9]{1,19}$")]
    cursor: Option<String>,
}

/// Explain an account
///
/// The story of the account, or of one key, invite or source in it, as a timeline: what happened, who did it with which credential,
/// on whose behalf and because of what. For the account's members and owner, and operators.
#[utoipa::path(get, path = "/api/v1/accounts/{account}/explain", operation_id = "explainAccount", tag = "events",
    params(("account" = String, Path, description = "The account's identifier or name"), Question),
    responses((status = 200, description = "A part of the story", body = StoryPage)))]
pub async fn of_account(
    State(state): State<SharedState>,
    read: AuthenticatedRead,
    Path(account): Path<String>,
    Parameters(question): Parameters<Question>,
) -> Result<Json<StoryPage>, ApiError> {
    let account = authorize(&state, read.caller, Permission::ReadHistory, &account).await?.id;
    let Question { key, invite, source, limit, cursor } = question;
    let thing = match (key, invite, source) {
        (None, None, None) => Thing::Account(account),
        (Some(key), None, None) => {
            let key: ApiKeyId = id(&key, Resource::ApiKey)?;
            in_account(&state, account, Thing::Key(key), "api_key", Resource::ApiKey).await?
        }
        (None, Some(invite), None) => {
            let invite: InviteId = id(&invite, Resource::Invite)?;
            in_account(&state, account, Thing::Invite(invite), "invite", Resource::Invite).await?
        }
        (None, None, Some(source)) => {
            // A handle can be 32 hexadecimal digits.
            if let (36, Ok(source)) = (source.len(), source.parse::<SourceId>()) {
                in_account(&state, account, Thing::Source(source), "source", Resource::Source).await?
            } else {
                let found = state.tenure.reader().source_by_handle(account, &source).await;
                Thing::Source(or_not_found(found, Resource::Source)?.id)
            }
        }
        _ => return Err(ApiError::malformed("name one of `key`, `invite` and `source`")),
    };
    let viewer = viewer(&state, read.caller, Viewer::Account(account)).await?;
    story(&state, thing, viewer, Part { limit, cursor }).await.map(Json)
}

/// The thing, if it belongs to the account: also one whose row is gone.
async fn in_account(
    state: &AppState,
    account: AccountId,
    thing: Thing,
    stream_type: &'static str,
    resource: Resource,
) -> Result<Thing, ApiError> {
    let of = state.tenure.account_of_stream(stream_type, thing.id()).await;
    match of.map_err(crate::dispatch::Failure::Read)? {
        Some(of) if of == account => Ok(thing),
        _ => Err(ApiError::not_found(resource)),
    }
}
