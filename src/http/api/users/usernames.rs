//! `POST /api/v1/usernames`: returns the usernames of many users at once.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::http::body::MAX_LARGE_BODY;
use crate::http::error::ApiError;
use crate::http::extract::JsonCommand;
use crate::http::policy::require_operator;
use crate::http::state::SharedState;
use crate::ids::UserId;

/// The largest number of identifiers in a request; that many need the large body limit.
const MAX_ITEMS: usize = 10_000;

/// The users to look up.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UsernamesRequest {
    /// The identifiers of the users, at most 10,000.
    #[schema(max_items = 10_000)]
    pub ids: Vec<UserId>,
}

/// Usernames by user identifier.
#[derive(Serialize, ToSchema)]
pub struct UsernamesById {
    /// Maps each identifier to its username; unknown identifiers are absent.
    pub usernames: BTreeMap<String, String>,
}

/// Get the usernames of many users
///
/// Changes nothing. For operators.
#[utoipa::path(post, path = "/api/v1/usernames", operation_id = "getUsernames", tag = "users",
    request_body = UsernamesRequest, responses((status = 200, description = "The usernames", body = UsernamesById)))]
pub async fn usernames(
    State(state): State<SharedState>,
    command: JsonCommand<UsernamesRequest, MAX_LARGE_BODY>,
) -> Result<Json<UsernamesById>, ApiError> {
    require_operator(&state, command.caller).await?;
    if command.body.ids.len() > MAX_ITEMS {
        return Err(ApiError::field("ids", "at most 10000 identifiers"));
    }
    let names = state.tenure.reader().usernames_by_ids(&command.body.ids).await?;
    Ok(Json(UsernamesById {
        usernames: names.into_iter().map(|(id, name)| (id.to_string(), name)).collect(),
    }))
}
