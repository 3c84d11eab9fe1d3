//! `POST /api/v1/usernames`: the names of many people at once.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::http::body::MAX_LARGE_BODY;
use crate::http::error::ApiError;
use crate::http::extract::JsonCommand;
use crate::http::state::SharedState;
use crate::ids::UserId;

/// The most names of one request.
const MAX_ITEMS: usize = 10_000;

/// Whose names.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UsernamesOf {
    /// At most 10,000 identifiers.
    #[schema(max_items = 10_000)]
    pub ids: Vec<UserId>,
}

/// The names.
#[derive(Serialize, ToSchema)]
pub struct Usernames {
    /// By identifier; who is unknown is absent.
    pub usernames: BTreeMap<String, String>,
}

/// The names of many people
///
/// For operators. Changes nothing.
#[utoipa::path(post, path = "/api/v1/usernames", operation_id = "getUsernames", tag = "users",
    request_body = UsernamesOf, responses((status = 200, description = "The names", body = Usernames)))]
pub async fn usernames(
    State(state): State<SharedState>,
    command: JsonCommand<UsernamesOf, MAX_LARGE_BODY>,
) -> Result<Json<Usernames>, ApiError> {
    state.require_operator(command.caller).await?;
    if command.body.ids.len() > MAX_ITEMS {
        return Err(ApiError::field("ids", "at most 10000"));
    }
    let names = state.tenure.reader().usernames_by_ids(&command.body.ids).await?;
    Ok(Json(Usernames { usernames: names.into_iter().map(|(id, name)| (id.to_string(), name)).collect() }))
}
